"""Secrets without a mark of their own: about 60 vendors whose keys are known by the name beside them, and the words for any secret.

A row is an id, the word of its placeholder, what the name of the variable holds (lower case), and the shape that the value must have whole.

Source: the vendors' documentation of their keys (2026-11).
"""

from __future__ import annotations

from typing import NamedTuple


class Vendor(NamedTuple):
    """See the module."""

    id: str
    label: str
    names: tuple[str, ...]
    shape: str


_HEX32, _HEX40, _HEX64 = r"[a-f0-9]{32}", r"[a-f0-9]{40}", r"[a-f0-9]{64}"
_UUID = r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"

VENDORS: tuple[Vendor, ...] = (
    Vendor("adafruit-key", "ADAFRUIT_KEY", ("adafruit",), r"[a-z0-9_-]{32}"),
    Vendor("adobe-key", "ADOBE_KEY", ("adobe",), _HEX32),
    Vendor("airtable-key", "AIRTABLE_KEY", ("airtable",), r"[a-z0-9]{17}"),
    Vendor("algolia-key", "ALGOLIA_KEY", ("algolia",), r"[a-z0-9]{32}"),
    Vendor("alibaba-secret", "ALIBABA_KEY", ("alibaba", "aliyun"), r"[a-z0-9]{30}"),
    Vendor("asana-secret", "ASANA_TOKEN", ("asana",), r"[a-z0-9]{32}|[0-9]{16}|[12]/\d{15,17}(?:/\d{15,17})?:[a-f0-9]{32}"),
    Vendor("atlassian-key", "ATLASSIAN_TOKEN", ("atlassian", "confluence", "jira"), r"[a-zA-Z0-9]{24}"),
    Vendor("auth0-secret", "AUTH0_SECRET", ("auth0",), r"[a-zA-Z0-9_-]{60,66}"),
    Vendor("aws-secret-key", "AWS_SECRET", ("aws",), r"[A-Za-z0-9/+]{40}"),
    Vendor("azure-key", "AZURE_KEY", ("azure",), rf"{_HEX32}|[A-Za-z0-9]{{84}}|[A-Za-z0-9+/]{{86}}==|[a-z0-9]{{52}}"),
    Vendor("beamer-token", "BEAMER_KEY", ("beamer",), r"b_[a-z0-9=_-]{44}"),
    Vendor("bitbucket-secret", "BITBUCKET_TOKEN", ("bitbucket",), r"[a-zA-Z0-9]{32}|[a-z0-9=_-]{64}"),
    Vendor("bittrex-key", "BITTREX_KEY", ("bittrex",), r"[a-z0-9]{32}"),
    Vendor("circleci-key", "CIRCLECI_TOKEN", ("circleci", "circle_token"), _HEX40),
    Vendor("cloudflare-key", "CLOUDFLARE_KEY", ("cloudflare",), r"[a-z0-9_-]{40}|[a-f0-9]{37}"),
    Vendor("codecov-token", "CODECOV_TOKEN", ("codecov",), rf"[a-z0-9]{{32}}|{_UUID}"),
    Vendor("cohere-key", "COHERE_KEY", ("cohere", "co_api_key"), r"[a-zA-Z0-9]{40}"),
    Vendor("coinbase-token", "COINBASE_KEY", ("coinbase",), r"[a-z0-9_-]{64}"),
    Vendor("confluent-key", "CONFLUENT_KEY", ("confluent",), r"[a-z0-9]{16}|[a-z0-9]{64}"),
    Vendor("contentful-key", "CONTENTFUL_TOKEN", ("contentful",), r"[a-z0-9=_-]{43}"),
    Vendor("databricks-key", "DATABRICKS_TOKEN", ("databricks",), r"dapi[a-f0-9]{32}"),
    Vendor("datadog-key", "DATADOG_KEY", ("datadog", "dd_api_key", "dd_app_key"), r"[a-z0-9]{40}|[a-f0-9]{32}"),
    Vendor("deepseek-key", "DEEPSEEK_KEY", ("deepseek",), r"sk-[a-f0-9]{32}"),
    Vendor("discord-key", "DISCORD_TOKEN", ("discord",), rf"{_HEX64}|[0-9]{{18}}|[a-z0-9=_-]{{32}}"),
    Vendor("droneci-token", "DRONECI_TOKEN", ("droneci", "drone_token"), r"[a-z0-9]{32}"),
    Vendor("dropbox-key", "DROPBOX_TOKEN", ("dropbox",), r"[a-z0-9]{15}|[a-z0-9]{11}AAAAAAAAAA[a-z0-9_=-]{43}|sl\.[a-z0-9=_-]{135}"),
    Vendor("elastic-key", "ELASTIC_KEY", ("elastic",), r"[A-Za-z0-9+/]{40,80}={0,2}"),
    Vendor("etsy-token", "ETSY_TOKEN", ("etsy",), r"[a-z0-9]{24}"),
    Vendor("facebook-secret", "FACEBOOK_TOKEN", ("facebook", "fb_app"), rf"{_HEX32}|\d{{15,16}}(?:\||%7c)[\w-]{{27,40}}"),
    Vendor("fastly-token", "FASTLY_TOKEN", ("fastly",), r"[a-z0-9=_-]{32}"),
    Vendor("finicity-key", "FINICITY_KEY", ("finicity",), r"[a-f0-9]{32}|[a-z0-9]{20}"),
    Vendor("finnhub-token", "FINNHUB_TOKEN", ("finnhub",), r"[a-z0-9]{20}"),
    Vendor("flickr-token", "FLICKR_TOKEN", ("flickr",), r"[a-z0-9]{32}"),
    Vendor("freshbooks-token", "FRESHBOOKS_TOKEN", ("freshbooks",), r"[a-z0-9]{64}"),
    Vendor("gitter-token", "GITTER_TOKEN", ("gitter",), r"[a-z0-9_-]{40}"),
    Vendor("heroku-uuid", "HEROKU_KEY", ("heroku",), _UUID),
    Vendor("hubspot-key", "HUBSPOT_TOKEN", ("hubspot",), _UUID),
    Vendor("ibm-cloud-key", "IBM_KEY", ("ibm", "iam_", "iam-", "iamapi", "_iam"), r"[a-zA-Z0-9_-]{44}"),
    Vendor("intercom-key", "INTERCOM_KEY", ("intercom",), r"[a-z0-9=_-]{60}"),
    Vendor("jfrog-key", "JFROG_KEY", ("jfrog", "artifactory", "bintray", "xray"), r"[a-z0-9]{64}|[a-z0-9]{73}"),
    Vendor("kraken-token", "KRAKEN_KEY", ("kraken",), r"[a-z0-9/=_+-]{80,90}"),
    Vendor("kucoin-token", "KUCOIN_KEY", ("kucoin",), rf"[a-f0-9]{{24}}|{_UUID}"),
    Vendor("launchdarkly-token", "LAUNCHDARKLY_KEY", ("launchdarkly",), r"[a-z0-9=_-]{40}"),
    Vendor("linear-secret", "LINEAR_KEY", ("linear",), _HEX32),
    Vendor("linkedin-key", "LINKEDIN_TOKEN", ("linkedin", "linked_in", "linked-in"), r"[a-z0-9]{14}|[a-z0-9]{16}"),
    Vendor("lob-token", "LOB_KEY", ("lob_", "lobtoken", "lobkey"), r"(?:live|test)_(?:pub_)?[a-f0-9]{31,35}"),
    Vendor("looker-key", "LOOKER_KEY", ("looker",), r"[a-z0-9]{20}|[a-z0-9]{24}"),
    Vendor("mailgun-token", "MAILGUN_KEY", ("mailgun",), r"(?:pub)?key-[a-f0-9]{32}|[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}"),
    Vendor("mattermost-token", "MATTERMOST_TOKEN", ("mattermost",), r"[a-z0-9]{26}"),
    Vendor("meraki-key", "MERAKI_KEY", ("meraki",), _HEX40),
    Vendor("messagebird-key", "MESSAGEBIRD_KEY", ("messagebird", "message-bird", "message_bird"), rf"[a-z0-9]{{25}}|{_UUID}"),
    Vendor("netlify-key", "NETLIFY_TOKEN", ("netlify",), r"[a-z0-9=_-]{40,46}"),
    Vendor("newrelic-id", "NEWRELIC_KEY", ("new-relic", "newrelic", "new_relic"), r"[a-z0-9]{64}|NR[A-Z]{2}-[\w-]{19,42}"),
    Vendor("nytimes-key", "NYTIMES_KEY", ("nytimes", "new-york-times", "newyorktimes"), r"[a-z0-9=_-]{32}"),
    Vendor("okta-key", "OKTA_TOKEN", ("okta",), r"00[\w=-]{40}"),
    Vendor("plaid-key", "PLAID_TOKEN", ("plaid",), r"[a-z0-9]{24}|[a-z0-9]{30}|access-(?:sandbox|development|production)-[a-f0-9-]{36}"),
    Vendor("privateai-key", "PRIVATEAI_KEY", ("privateai", "private_ai", "private-ai"), r"[a-z0-9]{32}"),
    Vendor("rapidapi-key", "RAPIDAPI_KEY", ("rapidapi",), r"[a-z0-9_-]{50}"),
    Vendor("sendbird-key", "SENDBIRD_KEY", ("sendbird",), rf"{_HEX40}|{_UUID}"),
    Vendor("sentry-key", "SENTRY_TOKEN", ("sentry",), _HEX64),
    Vendor("snyk-key", "SNYK_TOKEN", ("snyk",), _UUID),
    Vendor("sonar-key", "SONAR_TOKEN", ("sonar",), r"(?:squ_|sqp_|sqa_)?[a-z0-9=_-]{40}"),
    Vendor("sourcegraph-key", "SOURCEGRAPH_TOKEN", ("sourcegraph",), _HEX40),
    Vendor("squarespace-token", "SQUARESPACE_TOKEN", ("squarespace",), _UUID),
    Vendor("sumologic-key", "SUMOLOGIC_KEY", ("sumo",), r"su[a-zA-Z0-9]{12}|[a-z0-9]{64}"),
    Vendor("telegram-key", "TELEGRAM_TOKEN", ("telegr",), r"[0-9]{5,16}:A[a-z0-9_-]{34}"),
    Vendor("travisci-token", "TRAVIS_TOKEN", ("travis",), r"[a-z0-9]{22}"),
    Vendor("trello-token", "TRELLO_TOKEN", ("trello",), r"[a-zA-Z0-9-]{32}|[a-f0-9]{64}"),
    Vendor("twilio-token", "TWILIO_KEY", ("twilio",), _HEX32),
    Vendor("twitch-token", "TWITCH_TOKEN", ("twitch",), r"[a-z0-9]{30}"),
    Vendor("twitter-key", "TWITTER_TOKEN", ("twitter",), r"[a-z0-9]{25}|[a-z0-9]{45}|[a-z0-9]{50}|[0-9]{15,25}-[a-zA-Z0-9]{20,40}"),
    Vendor("wandb-token", "WANDB_KEY", ("wandb",), _HEX40),
    Vendor("yandex-token", "YANDEX_KEY", ("yandex",), r"YC[a-zA-Z0-9_-]{38}|AQVN[\w-]{35,38}|t1\.[\w-]+={0,2}\.[\w-]{86}={0,2}"),
    Vendor("zendesk-key", "ZENDESK_KEY", ("zendesk",), r"[a-z0-9]{40}"),
)

PASSWORDS: tuple[str, ...] = (
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "contrasena",
    "senha",
    "pwd",
    "passcode",
    "_pass",
    "user_pw",
    "db_pass",
    "dbpass",
)
KEYS: tuple[str, ...] = (
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "api key",
    "access_key",
    "accesskey",
    "access-key",
    "auth_key",
    "authkey",
    "auth-key",
    "private_key",
    "privatekey",
    "private-key",
    "encryption_key",
    "encryptionkey",
    "signing_key",
    "signingkey",
    "secret_key",
    "secretkey",
    "client_key",
    "service_key",
    "master_key",
    "account_key",
    "accountkey",
    "license_key",
    "app_key",
    "appkey",
    "session_key",
    "credential",
    "creds",
    "_auth",
    "authorization",
    "bearer",
    "iamkey",
    "iam_key",
    "iam-key",
    "cloud_key",
    "cloud-key",
    "ibm_key",
    "ibm-key",
)

NOT_SECRET: tuple[str, ...] = (
    "example", "sample", "placeholder", "dummy", "changeme", "change_me", "change-me", "redacted", "xxxx", "****", "....", "todo", "insert",
    "your_", "your-", "yourkey", "yourtoken", "my_", "my-", "mysecret", "mytoken", "fake", "foobar", "lorem", "none", "null", "undefined",
    "process.env", "os.environ", "getenv", "secrets.", "vault.", "env.", "config.", "self.", "this.", "_here", "-here", "replace", "####",
    "password", "passwd", "username", "secretkey", "abcdefgh", "qwerty", "test_key", "testkey", "string", "value", "required", "optional",
)  # fmt: skip
"""Words of values that nobody uses as a secret: names of variables, words of documentation, what redaction leaves."""
