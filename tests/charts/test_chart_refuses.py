"""Bad values are refused before anything is installed, with words that say what to do."""

from __future__ import annotations

import pytest
from helm_chart import VALUES, needs_helm, template

pytestmark = needs_helm

REFUSED = [
    # what `fleetgate check` would refuse, or what would be unsafe
    ("minimal", ["config.auth.mode=open"], "open is refused off loopback"),
    ("minimal", ["config.auth.mode=jwt"], "jwt without config.auth.jwt"),
    ("workload-tokens", ["keys.existingSecret=k"], "mode: jwt would not read them"),
    ("minimal", ["config.providers.openai.api_key=sk-live"], "config.providers.openai.api_key: a key itself"),
    ("minimal", ["providerKeys.existingSecret="], "there is no OPENAI_API_KEY in providerKeys.values"),
    ("minimal", ["models[0].provider=nobody"], "`gpt-*` is served by nobody, and no provider is called that. There are: openai"),
    ("minimal", ["models[0].failover={nobody}"], "a failover goes to nobody"),
    ("minimal", ["models[1].match=gpt-*", "models[1].provider=openai"], "`gpt-*` stands there twice"),
    ("minimal", ["config.models.x.provider=openai"], "Helm sorts mappings by name"),
    ("minimal", ["agents.files=null"], "agents: none"),
    ("minimal", ["agents.files.a/b\\.md=x"], "a ConfigMap is one folder"),
    ("minimal", ["policies.files.a/b\\.rego=x"], "a ConfigMap is one folder"),
    ("minimal", ["opa.enabled=true", "policies.files.rules\\.yaml=x"], "no .rego file in policies.files"),
    ("opa-bundles", ["opa.config=null"], "say what OPA reads"),
    ("minimal", ["config.listen.workers=2"], "additional properties 'workers' not allowed"),
    ("minimal", ["workers=65"], "at '/workers': maximum: got 65, want 64"),
    ("minimal", ["replicas=2"], "several replicas need a store that they share"),
    ("minimal", ["autoscaling.enabled=true"], "several replicas need a store that they share"),
    ("minimal", ["store.mode=valkey"], "There is no default password"),
    ("minimal", ["store.mode=redis"], "store.redis.url: not set"),
    ("minimal", ["store.mode=redis", "store.redis.url=redis://r:6379/0"], "Two releases on one server with one tenant would share budgets"),
    ("multi-tenant", ["store.redis.url=redis://u:p@r:6379/0"], "store.redis.url: it holds a user or password"),
    ("redis-tls", ["store.redis.url=redis+sentinel://s1:26379/main/0"], "caSecret or clientSecret beside a URL without TLS"),
    ("redis-tls", ["store.redis.url=rediss://r:6379/0"], "store.redis.sentinelPasswordKey: needs existingSecret and a URL redis+sentinel"),
    ("redis-tls", ["store.redis.existingSecret=", "store.redis.password=p"], "sentinelPasswordKey: needs existingSecret"),
    ("minimal", ["shipper.enabled=true", "shipper.to=parquet:/data/l"], "with sqlite they are kept in its file already"),
    ("shipper", ["shipper.to=parquet:/data/l"], "either `to` or `existingSecret` says where records go"),
    ("shipper", ["shipper.existingSecret="], "either `to` or `existingSecret` says where records go"),
    ("shipper", ["shipper.existingSecret=", "shipper.to=postgresql://u:p@db/l"], "shipper.to: it holds a password"),
    ("shipper", ["shipper.existingSecret=", "shipper.to=parquet:/data/l"], "shipper.existingClaim: not set"),
    ("minimal", ["admin.service.enabled=true"], "admin.token: an admin Service or a ServiceMonitor needs one"),
    ("minimal", ["metrics.serviceMonitor.enabled=true"], "admin.token: an admin Service or a ServiceMonitor needs one"),
    ("minimal", ["opa.enabled=true"], "opa.enabled: no policies"),
    ("minimal", ["termination.graceSeconds=60"], "pods would be killed while their streams run"),
    ("minimal", ["ingress.enabled=true"], "ingress.hosts: none"),
    ("minimal", ["httpRoute.enabled=true"], "httpRoute.parentRefs: none"),
    ("minimal", ["tests.keySecret=k"], "tests.model"),
    ("minimal", ["networkPolicy.agents.podLabels=null"], "Say which pods are agents"),
    ("production", ["autoscaling.minReplicas=50"], "minReplicas is above maxReplicas"),
    ("config-file", ["store.mode=redis"], "`file` and `configFile` belong together"),
    ("config-file", ["models[0].match=x", "models[0].provider=y"], "it holds everything"),
    ("config-file", ["configFile=providers: {a: {base_url: x}}\nstore: redis://r:6379/0"], "configFile: store.tenant is not set"),
    ("config-file", ["configFile=providers: {a: {base_url: x}}\nauth: {mode: open}"], "open is refused off loopback"),
    ("config-file", ["configFile=providers: {a: {base_url: x}}"], "several replicas need a store that they share"),
    # what the schema refuses: names that do not exist, and values of the wrong kind
    ("minimal", ["replicsa=2"], "additional properties 'replicsa' not allowed"),
    ("minimal", ["config.limits.drain=2"], "additional properties 'drain' not allowed"),
    ("minimal", ["config.store=memory:"], "additional properties 'store' not allowed"),
    ("minimal", ["config.providers.openai.apikey=env:X"], "additional properties 'apikey' not allowed"),
    ("minimal", ["replicas=many"], "at '/replicas': got string, want integer"),
    ("minimal", ["replicas=0"], "at '/replicas': minimum: got 0, want 1"),
    ("minimal", ["store.mode=postgres"], "at '/store/mode': value must be one of 'sqlite', 'valkey', 'redis', 'file'"),
    ("minimal", ["store.redis.tenant=a b"], "at '/store/redis/tenant'"),
    ("minimal", ["store.valkey.password=short"], "at '/store/valkey/password'"),
    ("minimal", ["admin.token.value=short"], "at '/admin/token/value'"),
    ("minimal", ["image.digest=latest"], "at '/image/digest'"),
    ("minimal", ["image.pullPolicy=Sometimes"], "at '/image/pullPolicy'"),
    ("minimal", ["service.port=99999"], "at '/service/port'"),
    ("minimal", ["metrics.rules.budgetRatio=80"], "at '/metrics/rules/budgetRatio'"),
    ("minimal", ["resources.limit.memory=1Gi"], "additional properties 'limit' not allowed"),
    ("minimal", ["models[0].math=x"], "additional properties 'math' not allowed"),
]


@pytest.mark.parametrize(("name", "values", "says"), REFUSED, ids=[f"{name}-{'+'.join(v)[:50]}" for name, v, _ in REFUSED])
def test_bad_values_are_refused(name: str, values: list[str], says: str) -> None:
    arguments = [part for value in values for part in (("--set-string" if "configFile" in value else "--set"), value)]
    arguments = [a.replace(",", "\\,") if a.startswith("configFile") else a for a in arguments]
    done = template("-f", str(VALUES / f"{name}.yaml"), *arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert says in done.stderr


def test_nothing_is_installed_without_values_and_the_first_thing_to_do_is_said() -> None:
    done = template()
    assert done.returncode != 0
    assert "config.providers: none. Say where models are served" in done.stderr


@pytest.mark.parametrize("name", ["minimal", "config-file"])
def test_a_grace_that_is_long_enough_is_taken(name: str) -> None:
    done = template("-f", str(VALUES / f"{name}.yaml"), "--set", "termination.graceSeconds=600")
    assert "terminationGracePeriodSeconds: 600" in done.stdout
