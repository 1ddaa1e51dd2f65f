//! Tokens with a shape of their own, by vendor.
//!
//! A token is tried where one of its keys stands, so a pattern begins with its key; `back` is how
//! far before its key a token may begin. A token must end where the text around it goes on with
//! something else, and its entropy must be that of something generated.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::words::is_words;
use super::{Hit, Rule, entropy, is_edge};
use crate::redact::policy::Class;

/// One token format.
pub struct Token {
    pub name: &'static str,
    pub label: &'static str,
    pub class: Class,
    pub keys: &'static [&'static str],
    pub pattern: &'static str,
    /// Fewest bits per byte.
    pub entropy: f64,
    pub back: usize,
}

const fn token(
    name: &'static str,
    label: &'static str,
    keys: &'static [&'static str],
    pattern: &'static str,
) -> Token {
    Token { name, label, class: Class::Vendor, keys, pattern, entropy: 2.8, back: 0 }
}

const fn of(class: Class, token: Token) -> Token {
    Token { class, ..token }
}

const fn strict(entropy: f64, token: Token) -> Token {
    Token { entropy, ..token }
}

const fn behind(back: usize, token: Token) -> Token {
    Token { back, ..token }
}

/// Every format.
#[rustfmt::skip]
pub static TOKENS: &[Token] = &[
    // Clouds
    token("aws-access-key-id", "AWS", &["AKIA", "ASIA", "ABIA", "ACCA", "A3T"], r"(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}"),
    token("aws-session-token", "AWS", &["FwoGZXIvYXdz", "IQoJb3JpZ2lu", "FQoGZXIvYXdz"], r"(?:FwoGZXIvYXdz|IQoJb3JpZ2lu|FQoGZXIvYXdz)[A-Za-z0-9+/=%]{60,}"),
    token("aws-bedrock-key", "AWS", &["ABSKQmVkcm9ja0FQSUtleS", "bedrock-api-key-"], r"(?:ABSKQmVkcm9ja0FQSUtleS|bedrock-api-key-)[A-Za-z0-9+/=]{40,}"),
    token("gcp-api-key", "GCP", &["AIza"], r"AIza[A-Za-z0-9_-]{35}"),
    token("gcp-access-token", "GCP", &["ya29."], r"ya29\.[A-Za-z0-9_-]{20,}"),
    token("gcp-client-secret", "GCP", &["GOCSPX-"], r"GOCSPX-[A-Za-z0-9_-]{28}"),
    token("gcp-refresh-token", "GCP", &["1//0"], r"1//0[A-Za-z0-9_-]{30,}"),
    behind(4, token("azure-client-secret", "AZURE", &["Q~"], r"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}")),
    behind(80, token("azure-devops-token", "AZURE", &["AZDO"], r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}")),
    behind(48, token("azure-function-key", "AZURE", &["AzFu"], r"[A-Za-z0-9_-]{44}AzFu[A-Za-z0-9_-]{5}[AQgw]={0,2}")),
    behind(44, token("azure-search-key", "AZURE", &["AzSe"], r"[A-Za-z0-9]{42}AzSe[A-D][A-Za-z0-9]{5}")),
    behind(80, token("azure-cosmos-key", "AZURE", &["ACDb"], r"[A-Za-z0-9+/]{76}ACDb[A-Za-z0-9+/]{6}={0,2}")),
    behind(80, token("azure-storage-key", "AZURE", &["+ASt"], r"[A-Za-z0-9+/]{75,76}\+ASt[A-Za-z0-9+/]{4,6}={0,2}")),
    token("alibaba-access-key", "ALIBABA", &["LTAI"], r"LTAI[A-Za-z0-9]{12,24}"),
    token("tencent-secret-id", "TENCENT", &["AKID"], r"AKID[A-Za-z0-9]{13,40}"),
    strict(3.5, token("yandex-key", "YANDEX", &["AQVN", "YC"], r"(?:AQVN[A-Za-z0-9_-]{35,38}|YC[A-Z][A-Za-z0-9_-]{30,40})")),
    token("digitalocean-token", "DIGITALOCEAN", &["dop_v1_", "doo_v1_", "dor_v1_"], r"do[opr]_v1_[a-f0-9]{64}"),
    token("heroku-key", "HEROKU", &["HRKU-"], r"HRKU-(?:AA[A-Za-z0-9_-]{50,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"),
    token("cloudflare-origin-key", "CLOUDFLARE", &["v1.0-"], r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    token("cloudflare-token", "CLOUDFLARE", &["cfut_", "cfat_", "cfk_"], r"cf(?:ut|at|k)_[A-Za-z0-9_-]{36,}"),
    token("fly-token", "FLY", &["fo1_", "fm1a_", "fm1r_", "fm2_"], r"(?:fo1_[A-Za-z0-9_-]{40,43}|fm(?:1[ar]|2)_[A-Za-z0-9+/_=-]{60,})"),
    token("netlify-token", "NETLIFY", &["nfp_", "nfc_"], r"nf[pc]_[A-Za-z0-9]{36,}"),
    token("vercel-token", "VERCEL", &["vercel_blob_rw_", "vcp_", "vck_"], r"(?:vercel_blob_rw_[A-Za-z0-9_]{24,}|vc[pk]_[A-Za-z0-9]{40,})"),
    token("render-key", "RENDER", &["rnd_"], r"rnd_[A-Za-z0-9]{24,}"),
    token("supabase-key", "SUPABASE", &["sbp_", "sb_secret_"], r"(?:sbp_(?:v0_)?[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,})"),
    token("planetscale-secret", "PLANETSCALE", &["pscale_"], r"pscale_(?:tkn|pw|oauth|pass)_[A-Za-z0-9=._-]{28,}"),
    token("neon-key", "NEON", &["napi_"], r"napi_[a-z0-9]{40,}"),
    token("scalingo-token", "SCALINGO", &["tk-us-"], r"tk-us-[A-Za-z0-9_-]{48}"),
    token("databricks-token", "DATABRICKS", &["dapi"], r"dapi[a-f0-9]{32}(?:-[0-9])?"),
    token("mongodb-atlas-secret", "MONGODB", &["mdb_sa_sk_"], r"mdb_sa_sk_[A-Za-z0-9_-]{30,}"),
    token("xata-key", "XATA", &["xau_"], r"xau_[A-Za-z0-9]{32,}"),
    // Code hosts and registries
    token("github-token", "GITHUB", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[A-Za-z0-9_]{36,255}"),
    token("github-fine-grained-token", "GITHUB", &["github_pat_"], r"github_pat_[A-Za-z0-9_]{36,255}"),
    token("gitlab-token", "GITLAB", &["glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glimt-", "glagent-", "gloas-", "glffct-"], r"gl(?:pat|dt|ft|soat|rtr?|ptt|cbt|imt|agent|oas|ffct)-[A-Za-z0-9_=-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?"),
    token("gitlab-runner-token", "GITLAB", &["GR1348941"], r"GR1348941[A-Za-z0-9_-]{20,}"),
    token("bitbucket-token", "ATLASSIAN", &["ATBB"], r"ATBB[A-Za-z0-9_=.-]{20,}"),
    token("atlassian-token", "ATLASSIAN", &["ATATT3", "ATCTT3", "ATSTT3"], r"AT[ACS]TT3[A-Za-z0-9_=.-]{40,}"),
    token("npm-token", "NPM", &["npm_"], r"npm_[A-Za-z0-9]{36,}"),
    token("pypi-token", "PYPI", &["pypi-AgEI", "pypi-AgEN"], r"pypi-AgE[IN][A-Za-z0-9_-]{50,}"),
    token("rubygems-key", "RUBYGEMS", &["rubygems_"], r"rubygems_[a-f0-9]{48}"),
    strict(3.3, token("crates-io-token", "CRATES_IO", &["cio"], r"cio[A-Za-z0-9]{32}")),
    strict(3.3, token("nuget-key", "NUGET", &["oy2"], r"oy2[a-z0-9]{43}")),
    token("clojars-token", "CLOJARS", &["CLOJARS_"], r"CLOJARS_[A-Za-z0-9]{60}"),
    token("docker-token", "DOCKER", &["dckr_pat_", "dckr_oat_"], r"dckr_[po]at_[A-Za-z0-9_-]{27,}"),
    token("jfrog-key", "JFROG", &["AKCp", "cmVmdGtu"], r"(?:AKCp[A-Za-z0-9]{60,75}|cmVmdGtu[A-Za-z0-9]{50,60})"),
    token("packagist-token", "PACKAGIST", &["packagist_"], r"packagist_[a-z]{3}_[A-Za-z0-9]{60,}"),
    behind(14, token("terraform-token", "TERRAFORM", &[".atlasv1."], r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}")),
    token("pulumi-token", "PULUMI", &["pul-"], r"pul-[a-f0-9]{40}"),
    token("sourcegraph-token", "SOURCEGRAPH", &["sgp_", "slk_"], r"(?:sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|slk_[a-f0-9]{64})"),
    token("deno-token", "DENO", &["ddp_", "ddw_"], r"dd[pw]_[A-Za-z0-9]{36}"),
    // Build and operations
    token("circleci-token", "CIRCLECI", &["CCIPAT_", "CCIPRJ_"], r"CCIP(?:AT|RJ)_[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    token("buildkite-token", "BUILDKITE", &["bkua_", "bkct_", "bkaj_"], r"bk(?:ua|ct|aj)_[A-Za-z0-9]{36,}"),
    token("sonar-token", "SONAR", &["squ_", "sqp_", "sqa_"], r"sq[upa]_[a-f0-9]{40}"),
    token("snyk-token", "SNYK", &["snyk_uat.", "snyk_sat."], r"snyk_[us]at\.[A-Za-z0-9]{8}\.[A-Za-z0-9_.-]{40,}"),
    token("doppler-token", "DOPPLER", &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."], r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,}"),
    token("vault-token", "VAULT", &["hvs.", "hvb.", "hvr."], r"hv[sbr]\.[A-Za-z0-9_-]{24,}"),
    token("onepassword-token", "ONEPASSWORD", &["ops_eyJ"], r"ops_eyJ[A-Za-z0-9+/=_-]{100,}"),
    token("onepassword-key", "ONEPASSWORD", &["A3-"], r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}"),
    token("age-secret-key", "AGE", &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    token("infracost-key", "INFRACOST", &["ico-"], r"ico-[A-Za-z0-9]{32}"),
    token("grafana-token", "GRAFANA", &["glc_", "glsa_"], r"(?:glc_[A-Za-z0-9+/]{32,400}={0,3}|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8})"),
    token("grafana-key", "GRAFANA", &["eyJrIjoi"], r"eyJrIjoi[A-Za-z0-9]{60,400}={0,3}"),
    token("newrelic-key", "NEWRELIC", &["NRAK-", "NRAA-", "NRJS-", "NRII-", "NRIQ-", "NRRA-", "NRBR-"], r"NR(?:AK|AA|JS|II|IQ|RA|BR)-[A-Za-z0-9_-]{19,42}"),
    token("sentry-token", "SENTRY", &["sntrys_", "sntryu_"], r"(?:sntrys_eyJ[A-Za-z0-9+/=_-]{60,}|sntryu_[a-f0-9]{64})"),
    token("dynatrace-token", "DYNATRACE", &["dt0c01.", "dt0s01.", "dt0s02.", "dt0s16."], r"dt0(?:c01|s01|s02|s16)\.[A-Z0-9]{8,24}\.[A-Z2-7]{64}"),
    token("honeycomb-key", "HONEYCOMB", &["hcaik_", "hcalk_", "hcxik_", "hcxlk_"], r"hc[ax][il]k_[a-z0-9]{50,}"),
    token("launchdarkly-key", "LAUNCHDARKLY", &["sdk-", "api-", "mob-"], r"(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    token("posthog-key", "POSTHOG", &["phx_"], r"phx_[A-Za-z0-9_-]{40,}"),
    token("tailscale-key", "TAILSCALE", &["tskey-"], r"tskey-(?:[a-z]+-)?[A-Za-z0-9]{8,20}-[A-Za-z0-9]{20,}"),
    token("harness-token", "HARNESS", &["pat.", "sat."], r"[ps]at\.[A-Za-z0-9_-]{22}\.[a-f0-9]{24}\.[A-Za-z0-9]{20}"),
    token("prefect-key", "PREFECT", &["pnu_", "pnb_"], r"pn[ub]_[A-Za-z0-9]{36}"),
    token("openshift-token", "OPENSHIFT", &["sha256~"], r"sha256~[A-Za-z0-9_-]{40,43}"),
    token("stackhawk-key", "STACKHAWK", &["hawk."], r"hawk\.[A-Za-z0-9_-]{20}\.[A-Za-z0-9_-]{18,20}"),
    token("rootly-key", "ROOTLY", &["rootly_"], r"rootly_[a-f0-9]{64}"),
    token("inngest-key", "INNGEST", &["signkey-"], r"signkey-[a-z]+-[a-f0-9]{32,64}"),
    token("trigger-dev-key", "TRIGGER_DEV", &["tr_prod_", "tr_dev_", "tr_pat_", "tr_stg_"], r"tr_(?:prod|dev|pat|stg)_[A-Za-z0-9]{20,}"),
    // Models and search
    token("anthropic-key", "ANTHROPIC", &["sk-ant-"], r"sk-ant-[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{40,}"),
    token("openrouter-key", "OPENROUTER", &["sk-or-"], r"sk-or-(?:v1-)?[a-f0-9]{40,64}"),
    token("langfuse-key", "LANGFUSE", &["sk-lf-", "pk-lf-"], r"[sp]k-lf-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    token("openai-key", "OPENAI", &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-", "sk-service-"], r"sk-(?:proj|svcacct|admin|None|service)-[A-Za-z0-9_-]{20,}"),
    strict(3.3, token("openai-key", "OPENAI", &["sk-"], r"sk-[A-Za-z0-9]{20,}(?:T3BlbkFJ[A-Za-z0-9]{20,})?")),
    strict(3.5, token("sk-key", "API", &["sk-"], r"sk-[a-z0-9]{2,12}-(?:[a-z0-9]{2,8}-)?[A-Za-z0-9_]{24,}")),
    token("huggingface-token", "HUGGINGFACE", &["hf_", "api_org_"], r"(?:hf_|api_org_)[A-Za-z0-9]{30,}"),
    token("groq-key", "GROQ", &["gsk_"], r"gsk_[A-Za-z0-9]{40,}"),
    token("xai-key", "XAI", &["xai-"], r"xai-[A-Za-z0-9_-]{60,}"),
    token("perplexity-key", "PERPLEXITY", &["pplx-"], r"pplx-[A-Za-z0-9]{40,}"),
    token("replicate-token", "REPLICATE", &["r8_"], r"r8_[A-Za-z0-9]{36,40}"),
    token("fireworks-key", "FIREWORKS", &["fw_"], r"fw_[A-Za-z0-9]{22,}"),
    token("together-key", "TOGETHER", &["tgp_v1_"], r"tgp_v1_[A-Za-z0-9_-]{36,}"),
    token("cerebras-key", "CEREBRAS", &["csk-"], r"csk-[a-z0-9]{40,}"),
    token("nvidia-key", "NVIDIA", &["nvapi-"], r"nvapi-[A-Za-z0-9_-]{60,}"),
    token("tavily-key", "TAVILY", &["tvly-"], r"tvly-(?:dev-|prod-)?[A-Za-z0-9_-]{20,}"),
    token("jina-key", "JINA", &["jina_"], r"jina_[A-Za-z0-9_-]{50,}"),
    token("pinecone-key", "PINECONE", &["pcsk_"], r"pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{50,}"),
    strict(3.5, token("voyage-key", "VOYAGE", &["pa-"], r"pa-[A-Za-z0-9_-]{40,}")),
    token("llamacloud-key", "LLAMACLOUD", &["llx-"], r"llx-[A-Za-z0-9]{40,}"),
    token("langsmith-key", "LANGSMITH", &["lsv2_", "ls__"], r"(?:lsv2_[ps][tk]_[a-f0-9]{32}_[a-f0-9]{10}|ls__[a-f0-9]{32})"),
    token("firecrawl-key", "FIRECRAWL", &["fc-"], r"fc-[a-f0-9]{32}"),
    token("e2b-key", "E_TWO_B", &["e2b_", "sk_e2b_"], r"(?:sk_)?e2b_[a-f0-9]{40}"),
    token("elevenlabs-key", "ELEVENLABS", &["sk_"], r"sk_[a-f0-9]{48}"),
    token("apify-token", "APIFY", &["apify_api_"], r"apify_api_[A-Za-z0-9]{30,}"),
    token("cursor-key", "CURSOR", &["key_"], r"key_[a-f0-9]{64}"),
    token("wandb-key", "WANDB", &["wandb_v1_"], r"wandb_v1_[A-Za-z0-9_]{40,}"),
    token("modal-token", "MODAL", &["ak-", "as-"], r"a[ks]-[A-Za-z0-9]{22}"),
    // Messages
    token("slack-token", "SLACK", &["xoxb-", "xoxp-", "xoxa-", "xoxo-", "xoxr-", "xoxs-", "xoxd-", "xoxc-", "xoxe-", "xoxe.", "xapp-", "xwfp-"], r"(?:xox[abcdeoprs]-|xoxe\.xox[bp]-|xapp-|xwfp-)[A-Za-z0-9%+/=-]{16,}"),
    token("slack-webhook", "WEBHOOK", &["hooks.slack.com/"], r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,}"),
    token("discord-webhook", "WEBHOOK", &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"], r"discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/[A-Za-z0-9_-]{40,}"),
    token("teams-webhook", "WEBHOOK", &["webhook.office.com/"], r"webhook\.office\.com/webhookb2/[A-Za-z0-9@-]{40,}/IncomingWebhook/[A-Za-z0-9]{32}/[A-Za-z0-9-]{30,36}"),
    token("zapier-webhook", "WEBHOOK", &["hooks.zapier.com/"], r"hooks\.zapier\.com/hooks/catch/[0-9]{4,}/[A-Za-z0-9]{6,}"),
    strict(3.3, token("discord-bot-token", "DISCORD", &["MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"], r"(?:M[Tjz]|N[DTjz]|O[DT])[A-Za-z0-9_-]{22,26}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{25,40}")),
    behind(12, token("telegram-bot-token", "TELEGRAM", &[":AA"], r"[0-9]{8,11}:AA[A-Za-z0-9_-]{30,33}")),
    token("twilio-key", "TWILIO", &["SK"], r"SK[0-9a-fA-F]{32}"),
    token("sendgrid-key", "SENDGRID", &["SG."], r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    token("mailgun-key", "MAILGUN", &["key-", "pubkey-"], r"(?:pub)?key-[a-f0-9]{32}"),
    behind(36, token("mailchimp-key", "MAILCHIMP", &["-us"], r"[a-f0-9]{32}-us[0-9]{1,2}")),
    token("brevo-key", "BREVO", &["xkeysib-", "xsmtpsib-"], r"x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    strict(3.8, token("resend-key", "RESEND", &["re_"], r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}")),
    token("intercom-token", "INTERCOM", &["dG9rO"], r"dG9rO[A-Za-z0-9+/]{40,}={0,2}"),
    // Money and commerce
    token("stripe-key", "STRIPE", &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_prod_", "rk_prod_"], r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}"),
    token("stripe-webhook-secret", "STRIPE", &["whsec_"], r"whsec_[A-Za-z0-9+/=]{24,}"),
    token("shopify-token", "SHOPIFY", &["shpat_", "shpca_", "shppa_", "shpss_", "shptka_"], r"shp(?:at|ca|pa|ss|tka)_[a-fA-F0-9]{32}"),
    token("square-token", "SQUARE", &["sq0atp-", "sq0csp-", "EAAA"], r"(?:sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}|EAAA[A-Za-z0-9_-]{56,70})"),
    token("paypal-token", "PAYPAL", &["access_token$"], r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    token("plaid-token", "PLAID", &["access-sandbox-", "access-production-", "access-development-"], r"access-(?:sandbox|production|development)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    token("flutterwave-key", "FLUTTERWAVE", &["FLWSECK"], r"FLWSECK(?:_TEST)?-[A-Za-z0-9]{12,32}-X"),
    token("razorpay-key", "RAZORPAY", &["rzp_live_", "rzp_test_"], r"rzp_(?:live|test)_[A-Za-z0-9]{14,}"),
    token("easypost-key", "EASYPOST", &["EZAK", "EZTK"], r"EZ[AT]K[A-Za-z0-9]{54}"),
    token("shippo-token", "SHIPPO", &["shippo_live_", "shippo_test_"], r"shippo_(?:live|test)_[a-f0-9]{40}"),
    token("duffel-token", "DUFFEL", &["duffel_"], r"duffel_(?:test|live)_[A-Za-z0-9_=-]{40,43}"),
    token("lob-key", "LOB", &["live_", "test_"], r"(?:live|test)_(?:pub_)?[a-f0-9]{31,35}"),
    token("coinbase-key", "COINBASE", &["organizations/"], r"organizations/[0-9a-f-]{36}/apiKeys/[0-9a-f-]{36}"),
    // Social and office
    token("facebook-token", "FACEBOOK", &["EAACEdEose0cBA", "EAA"], r"EAA[A-Z][A-Za-z0-9]{90,}"),
    token("twitter-bearer", "TWITTER", &["AAAAAAAAAAAAAAAAAAAA"], r"A{20,22}[A-Za-z0-9%]{40,}"),
    token("linear-key", "LINEAR", &["lin_api_", "lin_oauth_"], r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}"),
    token("notion-token", "NOTION", &["ntn_", "secret_"], r"(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})"),
    token("airtable-token", "AIRTABLE", &["pat"], r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    token("asana-token", "ASANA", &["1/1", "2/1"], r"[12]/1[0-9]{14,16}(?:/[0-9]{15,17})?:[a-f0-9]{32}"),
    token("clickup-token", "CLICKUP", &["pk_"], r"pk_[0-9]{6,10}_[A-Z0-9]{32}"),
    token("figma-token", "FIGMA", &["figd_", "figu_", "figo_"], r"fig[duo]_[A-Za-z0-9_-]{38,}"),
    token("dropbox-token", "DROPBOX", &["sl."], r"sl\.(?:u\.)?[A-Za-z0-9_-]{60,}"),
    token("hubspot-token", "HUBSPOT", &["pat-na", "pat-eu", "pat-ap"], r"pat-(?:na|eu|ap)[0-9]-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    token("contentful-token", "CONTENTFUL", &["CFPAT-"], r"CFPAT-[A-Za-z0-9_-]{43}"),
    token("typeform-token", "TYPEFORM", &["tfp_"], r"tfp_[A-Za-z0-9_.=-]{40,}"),
    token("frameio-token", "FRAMEIO", &["fio-u-"], r"fio-u-[A-Za-z0-9_=-]{60,}"),
    token("adobe-secret", "ADOBE", &["p8e-", "p8-"], r"p8e?-[A-Za-z0-9_-]{32}"),
    token("calcom-key", "CALCOM", &["cal_live_", "cal_"], r"cal_(?:live_)?[a-f0-9]{32}"),
    token("postman-key", "POSTMAN", &["PMAK-", "PMAT-"], r"PMA(?:K-[a-f0-9]{24}-[a-f0-9]{34}|T-[A-Z0-9]{26})"),
    token("readme-key", "README", &["rdme_"], r"rdme_[a-z0-9]{70}"),
    token("mapbox-token", "MAPBOX", &["sk.eyJ"], r"sk\.eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,}"),
    behind(36, token("maxmind-key", "MAXMIND", &["_mmk"], r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk")),
    token("ubidots-token", "UBIDOTS", &["BBFF-", "BBUS-"], r"BB(?:FF|US)-[A-Za-z0-9]{30}"),
    token("settlemint-token", "SETTLEMINT", &["sm_aat_", "sm_pat_", "sm_sat_"], r"sm_[aps]at_[A-Za-z0-9]{16,}"),
    // Web tokens and stored hashes
    of(Class::Jwt, token("jwt", "JWT", &["eyJ"], r"eyJ[A-Za-z0-9_-]{10,}\.(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})")),
    of(Class::PasswordHash, token("crypt-hash", "PASSWORD_HASH", &["$1$", "$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$", "$7$", "$y$", "$gy$", "$apr1$", "$argon2", "$scrypt", "$pbkdf2", "$sha1$", "$md5"], r"\$(?:1|2[abxy]|5|6|7|g?y|apr1|argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]*|sha1|md5)\$[./A-Za-z0-9=,$+_-]{20,}")),
    of(Class::PasswordHash, token("django-hash", "PASSWORD_HASH", &["pbkdf2_sha"], r"pbkdf2_sha(?:1|256|512)\$[0-9]{3,}\$[A-Za-z0-9./]{4,}\$[A-Za-z0-9+/]{20,}={0,2}")),
    of(Class::PasswordHash, token("ldap-hash", "PASSWORD_HASH", &["{SHA", "{SSHA", "{SMD5}", "{MD5}", "{CRYPT}"], r"\{(?:S?SHA(?:256|512)?|S?MD5|CRYPT)\}[A-Za-z0-9+/$.]{16,}={0,2}")),
];

/// The compiled patterns, in the order of [`TOKENS`].
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compile = |token: &Token| {
        let anchor = if token.back == 0 { "^" } else { "" };
        Regex::new(&format!("(?-u){anchor}(?:{})", token.pattern))
            // Constants, compiled by the first redaction of any test.
            .expect("built-in patterns are valid")
    };
    TOKENS.iter().map(compile).collect()
});

/// How far after its key a pattern is tried; what follows belongs to the token while it looks it.
const WINDOW: usize = 1024;

/// Tries token `index` where its key stands at `at`.
pub fn scan(index: usize, text: &str, at: usize, hits: &mut Vec<Hit>) {
    let token = &TOKENS[index];
    let bytes = text.as_bytes();
    let before = |at: usize| at.checked_sub(1).map(|n| &bytes[n]);
    if token.back == 0 && !is_edge(before(at)) {
        return;
    }
    let from = at.saturating_sub(token.back);
    let window = &bytes[from..bytes.len().min(at + WINDOW)];
    let Some(found) = PATTERNS[index].find(window) else { return };
    let (start, mut end) = (from + found.start(), from + found.end());
    if found.end() == window.len() {
        let goes_on = |b: &&u8| b.is_ascii_alphanumeric() || b"_.+/=-".contains(b);
        end += bytes[end..].iter().take_while(goes_on).count();
    }
    let covers = start <= at && at < end;
    if covers
        && is_edge(before(start))
        && is_edge(bytes.get(end))
        && entropy(&bytes[start..found.end() + from]) >= token.entropy
        // A webhook's address is made of words.
        && (token.label == "WEBHOOK" || !is_words(&text[start..end]))
    {
        let rule = Rule {
            name: Cow::Borrowed(token.name),
            label: Cow::Borrowed(token.label),
            class: token.class,
        };
        hits.push(Hit { start, end, rule });
    }
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{Hir, HirKind};

    use super::*;
    use crate::chance::Chance;
    use crate::redact::{Policy, Redactor};

    /// A text that a pattern matches.
    fn sample(hir: &Hir, chance: &mut Chance, out: &mut String) {
        match hir.kind() {
            HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).unwrap()),
            HirKind::Class(class) => {
                let regex_syntax::hir::Class::Unicode(class) = class else { panic!("not ASCII") };
                let all: Vec<char> =
                    class.ranges().iter().flat_map(|r| r.start()..=r.end()).collect();
                out.push(all[chance.below(all.len())]);
            }
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(repetition.min + 8).min(repetition.min + 8);
                let count =
                    repetition.min + chance.below((most - repetition.min + 1) as usize) as u32;
                (0..count).for_each(|_| sample(&repetition.sub, chance, out));
            }
            HirKind::Capture(capture) => sample(&capture.sub, chance, out),
            HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, chance, out)),
            HirKind::Alternation(parts) => sample(&parts[chance.below(parts.len())], chance, out),
            HirKind::Empty | HirKind::Look(_) => {}
        }
    }

    #[test]
    fn every_token_is_found_wherever_it_stands() {
        let redactor = Redactor::new(Policy::default()).unwrap();
        let mut chance = Chance::new(11, "vendor tokens");
        let mut missed = Vec::new();
        for token in TOKENS {
            let hir = regex_syntax::parse(token.pattern).unwrap();
            for round in 0..12 {
                // A token that ends in punctuation cannot be told from the sentence around it.
                let value = loop {
                    let mut value = String::new();
                    sample(&hir, &mut chance, &mut value);
                    if value.ends_with(|c: char| c.is_ascii_alphanumeric()) {
                        break value;
                    }
                };
                let places = [
                    format!("use {value}"),
                    format!("use {value}."),
                    format!("\"{value}\","),
                    format!("(see {value})"),
                    format!("a={value}&b=1"),
                    format!("line one\\n{value}\\nline three"),
                    format!("+{value}"),
                    format!("<td>{value}</td>"),
                    format!("\u{1b}[32m{value}\u{1b}[0m"),
                    format!("https://api.acme.dev/v1/?k={value}#top"),
                ];
                let place = &places[round % places.len()];
                let out = redactor.text(place).unwrap();
                if out.contains(&value[value.len() / 2..]) || !out.contains("<SECRET_") {
                    missed.push(format!("{}: {place} -> {out}", token.name));
                }
            }
        }
        assert!(
            missed.is_empty(),
            "{} missed: {:#?}",
            missed.len(),
            &missed[..missed.len().min(40)]
        );
    }

    #[test]
    fn there_are_many_vendors() {
        assert!(TOKENS.len() >= 120, "{}", TOKENS.len());
        for token in TOKENS {
            assert!(!token.keys.is_empty(), "{}", token.name);
            assert!(
                token.label.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
                "{}",
                token.name
            );
        }
    }
}
