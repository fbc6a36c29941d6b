"""Secrets that show what they are by how they begin: about 150 formats, as their vendors document them.

One row is an id, the word of its placeholder, the literals at which to look (case counts), and a pattern that must match there. Where the
pattern has a group, the group is the secret. `entropy` is the least bits per character (0: the shape alone is proof); `before` characters
in front of the literal belong to the pattern.

Source: the vendors' documentation of their tokens (2026-11); GitHub "Token formats", GitLab "Token overview", AWS IAM "Unique
identifiers", Slack "Token types", Stripe "API keys", OpenSSH PROTOCOL.key, RFC 7468, RFC 7519, RFC 7617.
"""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """See the module."""

    id: str
    label: str
    starts: tuple[str, ...]
    pattern: str
    entropy: float = 3.0
    before: int = 0


_LONG = r"[A-Za-z0-9_-]"
_WORD = r"[A-Za-z0-9]"
_HEX = r"[a-fA-F0-9]"
_B64 = r"[A-Za-z0-9+/]"

CLOUD: tuple[Format, ...] = (
    Format("aws-access-key", "AWS_KEY", ("AKIA", "ASIA", "ABIA", "ACCA", "A3T"), r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
    Format("aws-bedrock-key", "AWS_KEY", ("ABSK",), r"ABSK[A-Za-z0-9+/]{109,269}={0,2}"),
    Format("aws-bedrock-short-key", "AWS_KEY", ("bedrock-api-key-",), r"bedrock-api-key-[A-Za-z0-9+/=]{20,400}"),
    Format("aws-mws-token", "AWS_KEY", ("amzn.mws.",), r"amzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    Format("gcp-api-key", "GCP_KEY", ("AIza",), rf"AIza{_LONG}{{35}}"),
    Format("gcp-oauth-secret", "GCP_KEY", ("GOCSPX-",), rf"GOCSPX-{_LONG}{{28}}"),
    Format("gcp-access-token", "GCP_KEY", ("ya29.",), rf"ya29\.{_LONG}{{20,400}}"),
    Format("gcp-refresh-token", "GCP_KEY", ("1//0",), rf"1//0{_LONG}{{38,200}}"),
    Format(
        "gcp-service-account", "GCP_KEY", ('service_account\\"', 'service_account"'), r'"type\\?"\s{0,4}:\s{0,4}\\?"service_account', 0, 14
    ),
    Format("azure-storage-key", "AZURE_KEY", ("AccountKey=", "SharedAccessKey="), rf"(?:AccountKey|SharedAccessKey)=({_B64}{{40,88}}=*)"),
    Format("azure-sas", "AZURE_KEY", ("sig=",), r"sig=([A-Za-z0-9%/+]{40,90}(?:%3[dD]|=){0,2})", 3.5),
    Format("azure-ad-client-secret", "AZURE_KEY", ("Q~",), r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", 3, 4),
    Format("azure-devops-token", "AZURE_KEY", ("AZDO",), r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}", 3, 76),
    Format("alibaba-access-key", "ALIBABA_KEY", ("LTAI",), r"LTAI[A-Za-z0-9]{12,26}", 2.5),
    Format("tencent-secret-id", "TENCENT_KEY", ("AKID",), r"AKID[A-Za-z0-9]{32}"),
    Format("yandex-key", "YANDEX_KEY", ("AQVN", "YCAJ", "YC"), r"(?:AQVN[A-Za-z0-9_-]{35,38}|YC[A-Za-z0-9_-]{38})"),
    Format("yandex-iam-token", "YANDEX_KEY", ("t1.",), r"t1\.[A-Z0-9a-z_-]{1,200}={0,2}\.[A-Z0-9a-z_-]{86}={0,2}"),
    Format("digitalocean-token", "DIGITALOCEAN_TOKEN", ("dop_v1_", "doo_v1_", "dor_v1_"), r"do[opr]_v1_[a-f0-9]{64}"),
    Format("cloudflare-origin-ca", "CLOUDFLARE_KEY", ("v1.0-",), r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    Format(
        "fly-token",
        "FLY_TOKEN",
        ("fo1_", "fm1a_", "fm1r_", "fm2_"),
        r"(?:fo1_[\w-]{43}|fm1[ar]_[A-Za-z0-9+/]{100,400}={0,3}|fm2_[A-Za-z0-9+/]{100,400}={0,3})",
    ),
    Format("heroku-key", "HEROKU_KEY", ("HRKU-AA",), rf"HRKU-AA{_LONG}{{58}}"),
    Format("scaleway-key", "SCALEWAY_KEY", ("SCW",), r"SCW[A-Z0-9]{17}"),
    Format("scalingo-token", "SCALINGO_TOKEN", ("tk-us-",), rf"tk-us-{_LONG}{{48}}"),
    Format("openshift-token", "OPENSHIFT_TOKEN", ("sha256~",), rf"sha256~{_LONG}{{43}}"),
    Format("ovh-token", "OVH_TOKEN", ("eu.", "ca."), r"(?:eu|ca)\.[a-f0-9]{16}\.[a-f0-9]{32}"),
    Format("vercel-token", "VERCEL_TOKEN", ("vcp_", "vck_", "vca_"), r"vc[pka]_[A-Za-z0-9]{24,60}"),
    Format("netlify-token", "NETLIFY_TOKEN", ("nfp_", "nfc_", "nfo_"), r"nf[pco]_[A-Za-z0-9]{36,40}"),
    Format("render-key", "RENDER_KEY", ("rnd_",), r"rnd_[A-Za-z0-9]{28,36}", 3.3),
    Format("supabase-key", "SUPABASE_KEY", ("sbp_", "sb_secret_"), r"(?:sbp_[a-f0-9]{40}|sb_secret_[\w-]{31,40})"),
    Format("neon-key", "NEON_KEY", ("napi_",), r"napi_[a-z0-9]{60,70}"),
)

AI: tuple[Format, ...] = (
    Format("anthropic-key", "ANTHROPIC_KEY", ("sk-ant-",), rf"sk-ant-(?:api|admin|oat|sid)\d{{2}}-{_LONG}{{80,110}}AA"),
    Format(
        "openai-key",
        "OPENAI_KEY",
        ("sk-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"),
        r"sk-(?:(?:proj|svcacct|admin|service|None)-)?[A-Za-z0-9_-]{20,100}T3BlbkFJ[A-Za-z0-9_-]{20,100}",
    ),
    Format(
        "openai-project-key", "OPENAI_KEY", ("sk-proj-", "sk-svcacct-", "sk-admin-"), rf"sk-(?:proj|svcacct|admin)-{_LONG}{{40,180}}", 3.5
    ),
    Format("openai-style-key", "AI_KEY", ("sk-",), r"sk-(?:[A-Za-z0-9]{48}|[a-f0-9]{32}|[A-Za-z0-9]{20})", 3.3),
    Format("openrouter-key", "OPENROUTER_KEY", ("sk-or-v1-",), r"sk-or-v1-[a-f0-9]{64}"),
    Format("huggingface-token", "HF_TOKEN", ("hf_",), r"hf_[A-Za-z]{34}(?:[A-Za-z0-9]{0,6})", 3.5),
    Format("huggingface-org-token", "HF_TOKEN", ("api_org_",), r"api_org_[A-Za-z]{34}", 3.5),
    Format("groq-key", "GROQ_KEY", ("gsk_",), r"gsk_[A-Za-z0-9]{48,56}"),
    Format("xai-key", "XAI_KEY", ("xai-",), r"xai-[A-Za-z0-9]{70,90}"),
    Format("perplexity-key", "PERPLEXITY_KEY", ("pplx-",), r"pplx-[A-Za-z0-9]{48}", 3.5),
    Format("replicate-token", "REPLICATE_TOKEN", ("r8_",), r"r8_[A-Za-z0-9]{37}"),
    Format("nvidia-key", "NVIDIA_KEY", ("nvapi-",), rf"nvapi-{_LONG}{{60,70}}"),
    Format("fireworks-key", "FIREWORKS_KEY", ("fw_",), r"fw_[A-Za-z0-9]{22,24}", 3.5),
    Format("langsmith-key", "LANGSMITH_KEY", ("lsv2_",), r"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}"),
    Format("langfuse-key", "LANGFUSE_KEY", ("sk-lf-",), r"sk-lf-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}"),
    Format("pinecone-key", "PINECONE_KEY", ("pcsk_",), r"pcsk_[A-Za-z0-9_]{60,80}"),
    Format("tavily-key", "TAVILY_KEY", ("tvly-",), r"tvly-(?:dev-|prod-)?[A-Za-z0-9]{28,36}"),
    Format("jina-key", "JINA_KEY", ("jina_",), rf"jina_{_LONG}{{50,70}}"),
    Format("voyage-key", "VOYAGE_KEY", ("pa-",), rf"pa-{_LONG}{{43}}", 4),
    Format("cerebras-key", "CEREBRAS_KEY", ("csk-",), r"csk-[a-z0-9]{48}"),
    Format("elevenlabs-key", "ELEVENLABS_KEY", ("sk_",), r"sk_[a-f0-9]{48}"),
    Format("stability-key", "STABILITY_KEY", ("sk-",), r"sk-[A-Za-z0-9]{46,50}", 4),
    Format("wandb-key", "WANDB_KEY", ("wandb_v1_",), r"wandb_v1_[A-Za-z0-9_]{40,90}"),
    Format("clickhouse-key", "CLICKHOUSE_KEY", ("4b1d",), r"4b1d[A-Za-z0-9]{38}", 3.3),
)

CODE: tuple[Format, ...] = (
    Format("github-token", "GITHUB_TOKEN", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    Format("github-fine-grained-token", "GITHUB_TOKEN", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{82}"),
    Format(
        "gitlab-token",
        "GITLAB_TOKEN",
        ("glpat-", "gldt-", "glrt-", "glrtr-", "glsoat-", "glft-", "glffct-", "gloas-", "glwt-"),
        r"gl(?:pat|dt|rtr?|soat|ft|ffct|oas|wt)-(?:t\d_)?[\w-]{20,64}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?",
        2.8,
    ),
    Format("gitlab-routable-token", "GITLAB_TOKEN", ("glpat-", "glrt-"), r"gl(?:pat|rt)-(?:t\d_)?[\w-]{27,300}\.[0-9a-z]{2}[0-9a-z]{7}"),
    Format("gitlab-trigger-token", "GITLAB_TOKEN", ("glptt-",), r"glptt-[a-f0-9]{40}"),
    Format("gitlab-ci-token", "GITLAB_TOKEN", ("glcbt-",), r"glcbt-(?:[0-9a-fA-F]{1,5}_)?[\w-]{20,64}"),
    Format("gitlab-mail-token", "GITLAB_TOKEN", ("glimt-",), r"glimt-[\w-]{25}"),
    Format("gitlab-agent-token", "GITLAB_TOKEN", ("glagent-",), r"glagent-[\w-]{50,}"),
    Format("gitlab-scim-token", "GITLAB_TOKEN", ("glsoat-",), r"glsoat-[\w-]{20,50}", 2.8),
    Format("gitlab-runner-registration", "GITLAB_TOKEN", ("GR1348941",), r"GR1348941[\w-]{20,50}"),
    Format("gitlab-feature-token", "GITLAB_TOKEN", ("glffct-",), r"glffct-[\w-]{20,40}"),
    Format("gitlab-session", "GITLAB_TOKEN", ("_gitlab_session=",), r"_gitlab_session=([0-9a-z]{32})"),
    Format("bitbucket-token", "BITBUCKET_TOKEN", ("ATBB", "ATCTT3xFfG"), r"(?:ATBB[A-Za-z0-9]{24,32}|ATCTT3xFfG[\w=-]{150,200})"),
    Format("atlassian-token", "ATLASSIAN_TOKEN", ("ATATT3",), r"ATATT3[A-Za-z0-9_=-]{150,200}", 3.5),
    Format(
        "sourcegraph-token", "SOURCEGRAPH_TOKEN", ("sgp_", "slk_"), rf"(?:sgp_(?:{_HEX}{{16}}_|local_)?{_HEX}{{40}}|slk_[a-f0-9]{{64}})"
    ),
    Format("npm-token", "NPM_TOKEN", ("npm_",), r"npm_[A-Za-z0-9]{36}"),
    Format("pypi-token", "PYPI_TOKEN", ("pypi-AgE",), r"pypi-AgE[A-Za-z0-9_-]{50,400}"),
    Format("nuget-key", "NUGET_KEY", ("oy2",), r"oy2[a-z0-9]{43}", 3.5),
    Format("rubygems-key", "RUBYGEMS_KEY", ("rubygems_",), r"rubygems_[a-f0-9]{48}"),
    Format("crates-token", "CRATES_TOKEN", ("cio",), r"cio[A-Za-z0-9]{32}", 4),
    Format("clojars-token", "CLOJARS_TOKEN", ("CLOJARS_",), r"(?:CLOJARS_)[A-Za-z0-9]{60}"),
    Format("docker-token", "DOCKER_TOKEN", ("dckr_pat_", "dckr_oat_"), r"dckr_[po]at_[\w-]{27,40}"),
    Format("artifactory-key", "ARTIFACTORY_KEY", ("AKCp",), r"AKCp[A-Za-z0-9]{69}", 3.5),
    Format("artifactory-reference", "ARTIFACTORY_KEY", ("cmVmd",), r"cmVmd[A-Za-z0-9]{59}", 3.5),
    Format("circleci-token", "CIRCLECI_TOKEN", ("CCIPAT_", "CCIPRJ_"), r"CCI(?:PAT|PRJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    Format("buildkite-token", "BUILDKITE_TOKEN", ("bkua_",), r"bkua_[a-z0-9]{40}"),
    Format("sonar-token", "SONAR_TOKEN", ("squ_", "sqp_", "sqa_"), r"sq[upa]_[a-f0-9]{40}"),
    Format("snyk-token", "SNYK_TOKEN", ("snyk_",), r"snyk_(?:uat|sat)\.[a-z0-9]{8}\.[\w.-]{40,300}"),
    Format("codeclimate-token", "CODECLIMATE_TOKEN", ("CCTR_",), r"CCTR_[A-Za-z0-9]{40}"),
    Format("prefect-key", "PREFECT_KEY", ("pnu_", "pnb_"), r"pn[ub]_[A-Za-z0-9]{36}"),
    Format("octopus-key", "OCTOPUS_KEY", ("API-",), r"API-[A-Z0-9]{26}"),
    Format("harness-key", "HARNESS_KEY", ("pat.", "sat."), rf"[ps]at\.{_LONG}{{22}}\.[A-Za-z0-9]{{24}}\.[A-Za-z0-9]{{20}}"),
    Format("postman-key", "POSTMAN_KEY", ("PMAK-",), r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    Format("readme-key", "README_KEY", ("rdme_",), r"rdme_[a-z0-9]{70}"),
    Format(
        "sidekiq-secret",
        "SIDEKIQ_SECRET",
        ("CONTRIBSYS__COM",),
        r"CONTRIBSYS__COM[\w.\" ]{0,10}[ =:>\"',?.]{1,12}([a-f0-9]{8}:[a-f0-9]{8})",
        0,
    ),
    Format(
        "sidekiq-url",
        "SIDEKIQ_SECRET",
        ("gems.contribsys.com", "enterprise.contribsys.com"),
        r"([a-f0-9]{8}:[a-f0-9]{8})@(?:gems|enterprise)\.contribsys\.com",
        0,
        18,
    ),
)

INFRA: tuple[Format, ...] = (
    Format("terraform-token", "TERRAFORM_TOKEN", (".atlasv1.",), r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", 3.5, 14),
    Format("vault-token", "VAULT_TOKEN", ("hvs.", "hvb.", "hvr."), r"hv[sbr]\.[\w-]{24,300}", 3.5),
    Format("vault-token-old", "VAULT_TOKEN", (": s.", '"s.', "=s."), r"(?:: |[\"=])(s\.[A-Za-z0-9]{24})", 3.8),
    Format("doppler-token", "DOPPLER_TOKEN", ("dp.",), r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    Format("pulumi-token", "PULUMI_TOKEN", ("pul-",), r"pul-[a-f0-9]{40}"),
    Format("infracost-key", "INFRACOST_KEY", ("ico-",), r"ico-(?:[A-Za-z0-9]{32})", 4.05),
    Format("planetscale-secret", "PLANETSCALE_SECRET", ("pscale_",), r"pscale_(?:pw|tkn|oauth)_[\w=.-]{32,64}"),
    Format("onepassword-service-token", "OP_TOKEN", ("ops_eyJ",), r"ops_eyJ[A-Za-z0-9+/_-]{250,}={0,3}", 4),
    Format(
        "onepassword-secret-key",
        "OP_KEY",
        ("A3-",),
        r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
        3.5,
    ),
    Format("age-secret-key", "AGE_KEY", ("AGE-SECRET-KEY-1",), r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", 0),
    Format("wireguard-key", "PRIVATE_KEY", ("PrivateKey = ",), rf"PrivateKey = ({_B64}{{43}}=)"),
    Format("grafana-key", "GRAFANA_KEY", ("eyJrIjoi",), rf"eyJrIjoi{_B64}{{70,400}}={{0,3}}"),
    Format("grafana-token", "GRAFANA_KEY", ("glsa_", "glc_"), r"(?:glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{32,400}={0,3})"),
    Format("sentry-org-token", "SENTRY_TOKEN", ("sntrys_eyJ",), r"sntrys_eyJ[A-Za-z0-9+/=_-]{60,460}", 3.5),
    Format("sentry-user-token", "SENTRY_TOKEN", ("sntryu_",), r"sntryu_[a-f0-9]{64}", 3.3),
    Format(
        "newrelic-key",
        "NEWRELIC_KEY",
        ("NRAK-", "NRJS-", "NRII-", "NRAL-", "NRRA-"),
        rf"NR(?:AK-[A-Z0-9]{{27}}|JS-[a-f0-9]{{19}}|II-{_LONG}{{32}}|AL-[A-Z0-9]{{32}}|RA-[a-f0-9]{{42}})",
    ),
    Format("dynatrace-token", "DYNATRACE_TOKEN", ("dt0c01.", "dt0s"), r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    Format("honeycomb-key", "HONEYCOMB_KEY", ("hcaik_",), r"hcaik_[a-z0-9]{58}"),
    Format("posthog-key", "POSTHOG_KEY", ("phx_", "phs_"), r"ph[xs]_[A-Za-z0-9]{40,50}"),
    Format("defined-networking-token", "DEFINED_TOKEN", ("dnkey-",), r"dnkey-[A-Za-z0-9=_-]{26}-[A-Za-z0-9=_-]{52}"),
    Format("tailscale-key", "TAILSCALE_KEY", ("tskey-",), r"tskey-(?:api|auth|client|scim|webhook)-[A-Za-z0-9]{6,24}-[A-Za-z0-9]{20,40}"),
    Format("databricks-token", "DATABRICKS_TOKEN", ("dapi",), r"dapi[a-f0-9]{32}(?:-\d)?"),
    Format("databricks-secret", "DATABRICKS_TOKEN", ("dose",), r"dose[a-f0-9]{32}"),
    Format(
        "launchdarkly-key",
        "LAUNCHDARKLY_KEY",
        ("api-", "sdk-"),
        r"(?:api|sdk)-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    ),
    Format(
        "authress-key",
        "AUTHRESS_KEY",
        ("sc_", "ext_", "scauth_", "authress_"),
        r"(?:sc|ext|scauth|authress)_[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[a-z0-9+/_=-]{30,120}",
    ),
    Format("settlemint-token", "SETTLEMINT_TOKEN", ("sm_aat_", "sm_pat_", "sm_sat_"), r"sm_[aps]at_[A-Za-z0-9]{16}"),
    Format("maxmind-key", "MAXMIND_KEY", ("_mmk",), r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk", 3, 36),
    Format("intra42-secret", "INTRA42_SECRET", ("s-s4t2",), r"s-s4t2(?:ud|af)-[a-f0-9]{64}"),
)

CHAT_AND_MAIL: tuple[Format, ...] = (
    Format("slack-bot-token", "SLACK_TOKEN", ("xoxb-",), r"xoxb-(?:\d{8,14}-){1,2}[A-Za-z0-9-]{18,40}"),
    Format("slack-user-token", "SLACK_TOKEN", ("xoxp-", "xoxe-"), r"xox[pe]-(?:\d{9,13}-){3}[A-Za-z0-9-]{28,34}"),
    Format("slack-config-token", "SLACK_TOKEN", ("xoxe.xox", "xoxe-"), r"xoxe(?:\.xox[bp])?-\d-[A-Za-z0-9]{140,180}"),
    Format(
        "slack-legacy-token",
        "SLACK_TOKEN",
        ("xoxo-", "xoxs-", "xoxa-", "xoxr-"),
        r"xox(?:[os]-\d+-\d+-\d+-[a-fA-F\d]{8,40}|[ar]-(?:\d-)?[0-9a-zA-Z-]{8,80})",
        2.5,
    ),
    Format("slack-app-token", "SLACK_TOKEN", ("xapp-",), r"xapp-\d-[A-Z0-9]{6,14}-\d{6,14}-[a-z0-9]{20,80}"),
    Format("slack-cookie", "SLACK_TOKEN", ("xoxd-",), r"xoxd-[A-Za-z0-9%+/=]{40,400}"),
    Format(
        "slack-webhook", "SLACK_WEBHOOK", ("hooks.slack.com/",), r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/]{43,80})"
    ),
    Format("discord-webhook", "DISCORD_WEBHOOK", ("/api/webhooks/",), r"/api/webhooks/(\d{17,20}/[\w-]{60,72})"),
    Format("discord-bot-token", "DISCORD_TOKEN", (".G", ".X", ".Y"), r"[MNO][A-Za-z\d_-]{23,25}\.[GXY][\w-]{5}\.[\w-]{27,38}", 3.5, 26),
    Format("telegram-token", "TELEGRAM_TOKEN", (":AA", ":A"), r"\d{8,10}:A[A-Za-z0-9_-]{34}", 3.5, 10),
    Format(
        "teams-webhook",
        "TEAMS_WEBHOOK",
        (".webhook.office.com/",),
        r"\.webhook\.office\.com/webhookb2/([a-z0-9-]{36}@[a-z0-9-]{36}/IncomingWebhook/[a-z0-9]{32}/[a-z0-9-]{36})",
    ),
    Format("zapier-webhook", "WEBHOOK", ("hooks.zapier.com/",), r"hooks\.zapier\.com/hooks/catch/(\d{4,10}/[a-z0-9]{5,10})", 2),
    Format("sendgrid-key", "SENDGRID_KEY", ("SG.",), r"SG\.(?:[\w-]{22}\.[\w-]{43}|[\w=.-]{66})"),
    Format("sendinblue-key", "BREVO_KEY", ("xkeysib-", "xsmtpsib-"), r"x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    Format("mailgun-key", "MAILGUN_KEY", ("key-",), r"key-[a-f0-9]{32}"),
    Format("mailgun-public-key", "MAILGUN_KEY", ("pubkey-",), r"pubkey-[a-f0-9]{32}"),
    Format(
        "mailchimp-key",
        "MAILCHIMP_KEY",
        ("-us1", "-us2", "-us3", "-us4", "-us5", "-us6", "-us7", "-us8", "-us9"),
        r"[a-f0-9]{30,32}-us\d{1,2}",
        2.7,
        32,
    ),
    Format("mailersend-key", "MAILERSEND_KEY", ("mlsn.",), r"mlsn\.[a-f0-9]{64}"),
    Format("resend-key", "RESEND_KEY", ("re_",), r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}", 3.5),
    Format("twilio-key", "TWILIO_KEY", ("SK", "AC"), r"(?:SK|AC)[a-f0-9]{32}"),
    Format("facebook-page-token", "FACEBOOK_TOKEN", ("EAA",), r"EAA[A-Z][A-Za-z0-9]{80,400}", 4),
    Format(
        "facebook-app-token",
        "FACEBOOK_TOKEN",
        ("facebook", "Facebook", "FACEBOOK"),
        r"(?i:facebook).{0,40}?\b(\d{15,16}(?:\||%7C)[0-9A-Za-z_-]{27,40})",
    ),
    Format("twitter-bearer", "TWITTER_TOKEN", ("AAAAAAAAAAAAAAAAAAAAA",), r"A{21,22}[A-Za-z0-9%]{70,110}", 3),
    Format("linkedin-token", "LINKEDIN_TOKEN", ("WPL_AP",), r"WPL_AP\d\.[\w=.+/]{16,40}"),
    Format("instagram-token", "INSTAGRAM_TOKEN", ("IGQV",), r"IGQV[\w-]{60,250}"),
)

BUSINESS: tuple[Format, ...] = (
    Format(
        "stripe-key",
        "STRIPE_KEY",
        ("sk_test_", "sk_live_", "rk_test_", "rk_live_", "sk_prod_", "rk_prod_"),
        r"[sr]k_(?:test|live|prod)_[A-Za-z0-9]{10,120}",
        2.8,
    ),
    Format("stripe-webhook-secret", "STRIPE_KEY", ("whsec_",), r"whsec_[A-Za-z0-9+/]{24,64}={0,2}"),
    Format("square-token", "SQUARE_TOKEN", ("EAAA", "sq0atp-", "sq0csp-", "sq0idp-"), r"(?:EAAA|sq0(?:atp|csp|idp)-)[\w-]{22,60}", 3.5),
    Format("paypal-token", "PAYPAL_TOKEN", ("access_token$",), r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    Format("adyen-key", "ADYEN_KEY", ("AQE",), r"AQE[A-Za-z0-9+/]{60,200}={0,2}", 4.5),
    Format("razorpay-key", "RAZORPAY_KEY", ("rzp_live_", "rzp_test_"), r"rzp_(?:live|test)_[A-Za-z0-9]{14}"),
    Format(
        "flutterwave-key",
        "FLUTTERWAVE_KEY",
        ("FLWPUBK_TEST-", "FLWSECK_TEST-", "FLWSECK-"),
        r"FLW(?:PUBK|SECK)(?:_TEST)?-[a-zA-Z0-9]{12,40}(?:-X)?",
    ),
    Format("gocardless-token", "GOCARDLESS_TOKEN", ("live_", "sandbox_"), r"(?:live|sandbox)_[A-Za-z0-9_=-]{40}", 3.5),
    Format(
        "plaid-token",
        "PLAID_TOKEN",
        ("access-",),
        r"access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ),
    Format("lob-key", "LOB_KEY", ("live_", "test_"), r"(?:live|test)_(?:pub_[a-f0-9]{31}|[a-f0-9]{35})"),
    Format("shippo-token", "SHIPPO_TOKEN", ("shippo_",), r"shippo_(?:live|test)_[a-f0-9]{40}"),
    Format("easypost-key", "EASYPOST_KEY", ("EZAK", "EZTK"), r"EZ[AT]K[A-Za-z0-9]{54}"),
    Format("duffel-token", "DUFFEL_TOKEN", ("duffel_",), r"duffel_(?:test|live)_[\w=-]{43}"),
    Format("shopify-token", "SHOPIFY_TOKEN", ("shpat_", "shpca_", "shppa_", "shpss_", "shpua_"), rf"shp(?:at|ca|pa|ss|ua)_{_HEX}{{32}}"),
    Format("linear-key", "LINEAR_KEY", ("lin_api_", "lin_oauth_"), r"lin_(?:api|oauth)_[A-Za-z0-9]{40,64}"),
    Format("notion-token", "NOTION_TOKEN", ("ntn_", "secret_"), r"(?:ntn_[0-9]{11}[A-Za-z0-9]{35}|secret_[A-Za-z0-9]{43})"),
    Format("airtable-token", "AIRTABLE_TOKEN", ("pat",), r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    Format("figma-token", "FIGMA_TOKEN", ("figd_", "figo_"), r"fig[do]_[\w-]{40,44}"),
    Format("frameio-token", "FRAMEIO_TOKEN", ("fio-u-",), r"fio-u-[A-Za-z0-9_=-]{64}"),
    Format("typeform-token", "TYPEFORM_TOKEN", ("tfp_",), r"tfp_[A-Za-z0-9_.=-]{44,60}"),
    Format("contentful-token", "CONTENTFUL_TOKEN", ("CFPAT-",), r"CFPAT-[\w-]{43}"),
    Format(
        "hubspot-token",
        "HUBSPOT_TOKEN",
        ("pat-na1-", "pat-eu1-"),
        r"pat-(?:na|eu)\d-[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}",
    ),
    Format("dropbox-token", "DROPBOX_TOKEN", ("sl.",), r"sl\.(?:u\.)?[A-Za-z0-9_=-]{130,}", 4),
    Format("mapbox-token", "MAPBOX_TOKEN", ("pk.", "sk."), r"[ps]k\.[A-Za-z0-9]{60,120}\.[\w-]{22}"),
    Format("okta-token", "OKTA_TOKEN", ("SSWS ",), r"SSWS (00[\w=-]{40})", 3.5),
    Format("freemius-key", "FREEMIUS_KEY", ("secret_key", "SECRET_KEY"), r"(?i:secret_key)[\"'\s=:>]{1,10}(sk_[^\s\"']{29})"),
    Format("adobe-secret", "ADOBE_SECRET", ("p8e-",), r"p8e-[A-Za-z0-9]{32}"),
    Format("beamer-key", "BEAMER_KEY", ("b_",), r"b_[A-Za-z0-9=_-]{44}", 4),
    Format("algolia-admin", "ALGOLIA_KEY", ("X-Algolia-API-Key",), r"X-Algolia-API-Key[\"'\s=:]{1,6}([a-f0-9]{32})"),
    Format("ubidots-token", "UBIDOTS_TOKEN", ("BBFF-",), r"BBFF-[A-Za-z0-9]{30,36}"),
    Format("checkout-key", "CHECKOUT_KEY", ("sk_sbox_",), r"sk_sbox_[a-z0-9*]{26,32}"),
)

FORMATS: tuple[Format, ...] = CLOUD + AI + CODE + INFRA + CHAT_AND_MAIL + BUSINESS
