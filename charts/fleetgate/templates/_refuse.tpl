{{- /* What `fleetgate check` would refuse, or what would be unsafe, said before anything is installed. */ -}}
{{- define "fleetgate.refuse" -}}
{{- include "fleetgate.refuseConfig" . -}}
{{- include "fleetgate.refuseModels" . -}}
{{- include "fleetgate.refuseStore" . -}}
{{- include "fleetgate.refuseShipper" . -}}
{{- include "fleetgate.refuseParts" . -}}
{{- end -}}

{{- define "fleetgate.refuseConfig" -}}
{{- $known := include "fleetgate.known" . | fromYaml -}}
{{- if hasKey $known "Error" -}}{{- fail (printf "configFile: not valid YAML: %s" $known.Error) -}}{{- end -}}
{{- if hasKey .Values.config "models" -}}
{{- fail "config.models: write `models` as a list at the top of the values. Helm sorts mappings by name, and the first rule that matches wins." -}}
{{- end -}}
{{- if and .Values.configFile (or .Values.config .Values.models) -}}{{- fail "configFile: it holds everything; leave `config` and `models` out" -}}{{- end -}}
{{- if not $known.providers -}}
{{- fail "config.providers: none. Say where models are served, for example `openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: file:/run/fleetgate/providers/OPENAI_API_KEY}`" -}}
{{- end -}}
{{- if and (not .Values.configFile) (not .Values.models) -}}{{- fail "models: none. Say who serves which model, for example `- {match: \"gpt-*\", provider: openai}`" -}}{{- end -}}
{{- $mode := dig "auth" "mode" "keys" $known -}}
{{- if eq $mode "open" -}}{{- fail "config.auth.mode: open is refused off loopback, and a pod always listens off loopback: anyone who reaches the port could spend. Use keys." -}}{{- end -}}
{{- if and (eq $mode "jwt") (not (dig "auth" "jwt" dict $known)) -}}{{- fail "config.auth.mode: jwt without config.auth.jwt. Say whose tokens count: issuer, audience, jwks_url" -}}{{- end -}}
{{- if and (eq $mode "jwt") (include "fleetgate.keysSecret" .) (not (dig "auth" "also_keys" false $known)) -}}
{{- fail "keys: mode: jwt would not read them. Set config.auth.also_keys to take both, or leave `keys` out" -}}
{{- end -}}
{{- if not (include "fleetgate.filesMap" (list . "agents")) -}}
{{- fail "agents: none. Nobody could have a key. Use --set-file agents.files.AGENTS\\.md=AGENTS.md, or agents.existingConfigMap" -}}
{{- end -}}
{{- range $what := list "agents" "policies" "budgets" -}}
{{- range $name, $text := (index $.Values $what).files -}}
{{- if not (regexMatch "^[A-Za-z0-9_][-._A-Za-z0-9]*$" $name) -}}
{{- fail (printf "%s.files: `%s`: a ConfigMap is one folder, so names are without `/`; where a folder below is needed, mount your own volume (extraVolumes)" $what $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $provider := $known.providers -}}
{{- $key := default "" $provider.api_key -}}
{{- if and $key (not (hasPrefix "env:" $key)) (not (hasPrefix "file:" $key)) -}}
{{- fail (printf "config.providers.%s.api_key: a key itself. Put it into a Secret (providerKeys) and write file:/run/fleetgate/providers/NAME, or env:NAME with extraEnvFrom" $name) -}}
{{- end -}}
{{- if hasPrefix "file:/run/fleetgate/providers/" $key -}}
{{- $file := trimPrefix "file:/run/fleetgate/providers/" $key -}}
{{- if and (not $.Values.providerKeys.existingSecret) (not (hasKey $.Values.providerKeys.values $file)) -}}
{{- fail (printf "config.providers.%s.api_key: there is no %s in providerKeys.values, and no providerKeys.existingSecret" $name $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fleetgate.refuseModels" -}}
{{- $providers := default dict .Values.config.providers -}}
{{- $seen := list -}}
{{- range .Values.models -}}
{{- if not (hasKey $providers .provider) -}}{{- fail (printf "models: `%s` is served by %s, and no provider is called that. There are: %s" .match .provider (keys $providers | sortAlpha | join ", ")) -}}{{- end -}}
{{- range .failover -}}
{{- $spare := ternary . (dig "provider" "" (ternary dict . (kindIs "string" .))) (kindIs "string" .) -}}
{{- if not (hasKey $providers $spare) -}}{{- fail (printf "models: a failover goes to %s, and no provider is called that" $spare) -}}{{- end -}}
{{- end -}}
{{- if has .match $seen -}}{{- fail (printf "models: `%s` stands there twice" .match) -}}{{- end -}}
{{- $seen = append $seen .match -}}
{{- end -}}
{{- end -}}

{{- define "fleetgate.refuseStore" -}}
{{- $mode := .Values.store.mode -}}
{{- if ne (eq $mode "file") (ne .Values.configFile "") -}}{{- fail "store.mode: `file` and `configFile` belong together: the store is the file's then" -}}{{- end -}}
{{- $known := include "fleetgate.known" . | fromYaml -}}
{{- $store := default "sqlite:fleetgate.db" $known.store -}}
{{- $url := ternary $store (dig "url" "" (ternary dict $store (kindIs "string" $store))) (kindIs "string" $store) -}}
{{- $many := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- $alone := or (eq $mode "sqlite") (and (eq $mode "file") (or (hasPrefix "sqlite:" $url) (hasPrefix "memory:" $url))) -}}
{{- if and $many $alone -}}
{{- fail "store.mode: several replicas need a store that they share. With sqlite each would have budgets of its own, and the fleet could spend them several times. Use redis, or valkey to try it out." -}}
{{- end -}}
{{- if and (eq $mode "file") (contains "redis" $url) (or (kindIs "string" $store) (not (dig "tenant" "" (ternary dict $store (kindIs "string" $store))))) -}}
{{- fail "configFile: store.tenant is not set. Two releases on one server with one tenant would share budgets, keys and kills. Name this fleet." -}}
{{- end -}}
{{- if eq $mode "redis" -}}
{{- $redis := .Values.store.redis -}}
{{- if not $redis.url -}}{{- fail "store.redis.url: not set. For example redis://redis.data.svc:6379/0" -}}{{- end -}}
{{- if contains "@" $redis.url -}}{{- fail "store.redis.url: it holds a user or password, which everyone who may read ConfigMaps could see. Use store.redis.username and store.redis.existingSecret" -}}{{- end -}}
{{- if and (or $redis.caSecret $redis.clientSecret) (not (hasPrefix "rediss" $redis.url)) -}}
{{- fail "store.redis: caSecret or clientSecret beside a URL without TLS, which would go in clear. Write rediss:// (rediss+cluster://, rediss+sentinel://), or leave them out" -}}
{{- end -}}
{{- if and $redis.sentinelPasswordKey (or (not $redis.existingSecret) (not (contains "sentinel" $redis.url))) -}}
{{- fail "store.redis.sentinelPasswordKey: needs existingSecret and a URL redis+sentinel:// or rediss+sentinel://" -}}
{{- end -}}
{{- if not $redis.tenant -}}
{{- fail "store.redis.tenant: not set. Two releases on one server with one tenant would share budgets, keys and kills, so there is no default. Name this fleet." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $mode "valkey") (not (include "fleetgate.storeSecret" .)) -}}
{{- fail "store.valkey: neither password nor existingSecret. There is no default password: whoever knew it could change budgets" -}}
{{- end -}}
{{- end -}}

{{- define "fleetgate.refuseShipper" -}}
{{- $shipper := .Values.shipper -}}
{{- if $shipper.enabled -}}
{{- if eq .Values.store.mode "sqlite" -}}{{- fail "shipper.enabled: records are moved from a Redis store; with sqlite they are kept in its file already" -}}{{- end -}}
{{- if eq (empty $shipper.to) (empty $shipper.existingSecret) -}}{{- fail "shipper: either `to` or `existingSecret` says where records go" -}}{{- end -}}
{{- if regexMatch "^postgres(ql)?://[^/]*:[^/]*@|password=" $shipper.to -}}
{{- fail "shipper.to: it holds a password, which everyone who may see pods could read. Put the whole URL into a Secret (shipper.existingSecret)" -}}
{{- end -}}
{{- if and (regexMatch "^(parquet|sqlite):/data(/|$)" $shipper.to) (not $shipper.existingClaim) -}}
{{- fail "shipper.existingClaim: not set, so what is written to /data would go with the pod" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fleetgate.refuseParts" -}}
{{- if and (include "fleetgate.adminService" .) (not (include "fleetgate.adminSecret" .)) -}}
{{- fail "admin.token: an admin Service or a ServiceMonitor needs one (value or existingSecret): without, the admin plane answers nobody outside the pod" -}}
{{- end -}}
{{- if .Values.opa.enabled -}}
{{- if not (include "fleetgate.filesMap" (list . "policies")) -}}
{{- fail "opa.enabled: no policies. The files say which packages must answer; without any, OPA would never be asked" -}}
{{- end -}}
{{- if and .Values.policies.existingConfigMap (not .Values.opa.config) (not .Values.opa.existingConfigMap) -}}
{{- fail "opa: with policies.existingConfigMap say what OPA reads: opa.existingConfigMap with the .rego and data files alone (OPA takes any other YAML for data), or bundles in opa.config" -}}
{{- end -}}
{{- if and (not .Values.policies.existingConfigMap) (not (include "fleetgate.rego" . | fromJsonArray)) -}}
{{- fail "opa.enabled: no .rego file in policies.files, so OPA would never be asked" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.agents.podLabels) -}}
{{- fail "networkPolicy.agents.podLabels: none. Say which pods are agents; without labels every pod of the namespace would count as one" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}{{- fail "ingress.hosts: none" -}}{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}{{- fail "httpRoute.parentRefs: none, so no gateway would take the route" -}}{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.cpuPercent) (not .Values.autoscaling.inflight) -}}{{- fail "autoscaling: neither cpuPercent nor inflight" -}}{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}{{- fail "autoscaling: minReplicas is above maxReplicas" -}}{{- end -}}
{{- if and .Values.tests.keySecret (not .Values.tests.model) -}}{{- fail "tests.model: tests.keySecret is set, so say which model the test asks" -}}{{- end -}}
{{- end -}}
