//! Tokens with a shape of their vendor's own, and keys of vendors that only a name gives away.

use proto::chance::Chance;

use super::Sample;
use super::values::{fill, hex, pick, random, shape, uuid};

/// Vendor and shape. What stands in the shape is what the vendor's documentation shows; a `|`
/// splits it, so that no host takes a shape for a token.
const TOKENS: &[(&str, &str)] = &[
    (
        "1password secret key",
        "A3-|[A-Z0-9]{6}-[A-Z0-9]{6}-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{5}",
    ),
    ("1password service account", "ops_|eyJ[a-zA-Z0-9]{260}"),
    ("adafruit io", "aio_|[a-zA-Z0-9]{28}"),
    ("adobe client", "p8e-|[a-zA-Z0-9]{32}"),
    ("age", "AGE-SECRET-KEY-|1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    ("airtable pat", "pat|[A-Za-z0-9]{14}.[a-f0-9]{64}"),
    ("aiven", "aivenv1|[A-Za-z0-9_-]{60}"),
    ("alibaba id", "LTAI|[A-Za-z0-9]{20}"),
    ("anthropic", "sk-ant-|api03-[A-Za-z0-9_-]{93}AA"),
    ("anthropic admin", "sk-ant-|admin01-[A-Za-z0-9_-]{93}AA"),
    ("anthropic oauth", "sk-ant-|oat01-[A-Za-z0-9_-]{93}AA"),
    ("apify", "apify_api_|[A-Za-z0-9]{36}"),
    ("artifactory key", "AKCp|[A-Za-z0-9]{69}"),
    ("artifactory reference", "cmVmdGtuOj|[A-Za-z0-9]{54}"),
    ("asana pat", "2/|[0-9]{16}/[0-9]{16}:[a-f0-9]{32}"),
    ("atlassian", "ATATT3|[A-Za-z0-9_-]{178}=[A-F0-9]{8}"),
    ("authress", "authress_|[a-z0-9]{12}.[a-z0-9]{5}.acc-[a-z0-9-]{12}.[A-Za-z0-9]{43}"),
    ("aws id", "AKIA|[A-Z2-7]{16}"),
    ("aws temporary id", "ASIA|[A-Z2-7]{16}"),
    ("aws bedrock", "ABSK|[A-Za-z0-9+/]{128}"),
    ("azure client secret", "[a-zA-Z0-9]{3}8Q~|[a-zA-Z0-9_.~-]{33}[a-zA-Z0-9]"),
    ("azure devops", "[A-Za-z0-9]{76}AZDO|[A-Za-z0-9]{4}"),
    ("bitbucket app password", "ATBB|[A-Za-z0-9]{24}[A-F0-9]{8}"),
    ("bitbucket access token", "ATCTT3xFfGN0|[A-Za-z0-9_-]{160}=[A-F0-9]{8}"),
    ("buildkite agent", "bkua_|[a-f0-9]{40}"),
    ("cerebras", "csk-|[a-z0-9]{48}"),
    ("circleci pat", "CCIPAT_|[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    ("circleci project", "CCIPRJ_|[A-Za-z0-9]{22}_[a-f0-9]{40}"),
    ("clickhouse cloud", "4b1d|[A-Za-z0-9]{38}"),
    ("clickup", "pk_|[0-9]{8}_[A-Z0-9]{32}"),
    ("clojars", "CLOJARS_|[a-z0-9]{60}"),
    ("cloudflare ca key", "v1.0-|[a-f0-9]{24}-[a-f0-9]{146}"),
    ("cloudinary url", "cloudinary://|[0-9]{15}:[A-Za-z0-9_-]{26}[A-Za-z0-9]"),
    ("contentful pat", "CFPAT-|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("crates.io", "cio|[A-Za-z0-9]{32}"),
    ("databricks", "dapi|[a-f0-9]{32}"),
    ("defined networking", "dnkey-|[A-Z0-9]{26}-[A-Z0-9]{52}"),
    ("digitalocean pat", "dop_v1_|[a-f0-9]{64}"),
    ("digitalocean oauth", "doo_v1_|[a-f0-9]{64}"),
    ("digitalocean refresh", "dor_v1_|[a-f0-9]{64}"),
    ("discord bot", "M[TNO][A-Za-z0-9]{22}.|G[A-Za-z0-9_-]{5}.[A-Za-z0-9_-]{37}[A-Za-z0-9]"),
    ("docker hub", "dckr_pat_|[A-Za-z0-9_-]{26}[A-Za-z0-9]"),
    ("docker hub organisation", "dckr_oat_|[A-Za-z0-9_-]{31}[A-Za-z0-9]"),
    ("doppler", "dp.pt.|[A-Za-z0-9]{43}"),
    ("doppler service", "dp.st.prd.|[A-Za-z0-9]{43}"),
    ("dropbox short", "sl.|[A-Za-z0-9_-]{134}[A-Za-z0-9]"),
    ("duffel", "duffel_live_|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("dynatrace", "dt0c01.|[A-Z0-9]{24}.[A-Z0-9]{64}"),
    ("easypost", "EZAK|[A-Za-z0-9]{54}"),
    ("easypost test", "EZTK|[A-Za-z0-9]{54}"),
    ("elevenlabs", "sk_|[a-f0-9]{48}"),
    ("facebook app token", "[1-9][0-9]{14}\\||[A-Za-z0-9_-]{27}"),
    ("facebook page", "EAAC|[A-Za-z0-9]{120}"),
    ("figma", "figd_|[A-Za-z0-9_-]{39}[A-Za-z0-9]"),
    ("flutterwave", "FLWSECK_TEST-|[a-h0-9]{32}-X"),
    ("flutterwave live", "FLWSECK-|[a-h0-9]{32}-X"),
    ("fly.io", "fo1_|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("fly.io macaroon", "fm2_|[A-Za-z0-9+/]{120}"),
    ("frame.io", "fio-u-|[A-Za-z0-9_-]{63}[A-Za-z0-9]"),
    ("google api key", "AIza|[A-Za-z0-9_-]{34}[A-Za-z0-9]"),
    ("google oauth secret", "GOCSPX-|[A-Za-z0-9_-]{27}[A-Za-z0-9]"),
    ("google access token", "ya29.|a0[A-Za-z0-9_-]{150}[A-Za-z0-9]"),
    ("google refresh token", "1//0|[a-z0-9][A-Za-z0-9_-]{98}[A-Za-z0-9]"),
    ("github pat", "ghp_|[A-Za-z0-9]{36}"),
    ("github oauth", "gho_|[A-Za-z0-9]{36}"),
    ("github user app", "ghu_|[A-Za-z0-9]{36}"),
    ("github server", "ghs_|[A-Za-z0-9]{36}"),
    ("github refresh", "ghr_|[A-Za-z0-9]{76}"),
    ("github fine-grained", "github_pat_|[A-Z0-9]{22}_[A-Za-z0-9]{59}"),
    ("gitlab pat", "glpat-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab routable pat", "glpat-|[A-Za-z0-9_-]{27}.01.[a-z0-9]{9}"),
    ("gitlab job", "glcbt-|64_[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab deploy", "gldt-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab feature flag", "glffct-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab feed", "glft-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab mail", "glimt-|[A-Za-z0-9_-]{24}[A-Za-z0-9]"),
    ("gitlab agent", "glagent-|[A-Za-z0-9_-]{49}[A-Za-z0-9]"),
    ("gitlab app", "gloas-|[a-f0-9]{64}"),
    ("gitlab trigger", "glptt-|[a-f0-9]{40}"),
    ("gitlab runner", "glrt-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab runner registration", "GR1348941|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("gitlab scim", "glsoat-|[A-Za-z0-9_-]{19}[A-Za-z0-9]"),
    ("grafana key", "eyJr|Ijoi[A-Za-z0-9]{72}="),
    ("grafana cloud", "glc_|eyJv[A-Za-z0-9+/]{80}="),
    ("grafana service account", "glsa_|[A-Za-z0-9]{32}_[a-f0-9]{8}"),
    ("groq", "gsk_|[A-Za-z0-9]{52}"),
    ("harness", "pat.|[A-Za-z0-9_-]{22}.[a-f0-9]{24}.[A-Za-z0-9]{20}"),
    ("terraform cloud", "[A-Za-z0-9]{14}.|atlasv1.[A-Za-z0-9_-]{66}[A-Za-z0-9]"),
    ("heroku", "HRKU-AA|[A-Za-z0-9_-]{57}[A-Za-z0-9]"),
    ("honeycomb ingest", "hcaik_|[a-z0-9]{58}"),
    (
        "hubspot private app",
        "pat-na1-|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ),
    ("hugging face", "hf_|[A-Za-z]{34}"),
    ("hugging face organisation", "api_org_|[A-Za-z]{34}"),
    ("infracost", "ico-|[A-Za-z0-9]{32}"),
    ("intra42", "s-s4t2ud-|[a-f0-9]{64}"),
    ("langsmith", "lsv2_pt_|[a-f0-9]{32}_[a-f0-9]{10}"),
    ("langfuse", "sk-lf-|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    (
        "launchdarkly sdk",
        "sdk-|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    ),
    ("linear", "lin_api_|[A-Za-z0-9]{40}"),
    ("linear oauth", "lin_oauth_|[a-f0-9]{64}"),
    ("mailchimp", "[0-9a-f]{32}-|us1[0-9]"),
    ("mailgun", "key-|[a-f0-9]{32}"),
    ("mapbox secret", "sk.|eyJ1[A-Za-z0-9]{70}.[A-Za-z0-9_-]{21}[A-Za-z0-9]"),
    ("maxmind", "[A-Za-z0-9]{6}_|[A-Za-z0-9]{29}_mmk"),
    ("mongodb atlas service account", "mdb_sa_sk_|[A-Za-z0-9_-]{39}[A-Za-z0-9]"),
    ("neon", "napi_|[a-z0-9]{64}"),
    ("netlify", "nfp_|[A-Za-z0-9]{36}"),
    ("new relic user", "NRAK-|[A-Z0-9]{27}"),
    ("new relic insert", "NRII-|[A-Za-z0-9-]{31}[A-Za-z0-9]"),
    ("new relic browser", "NRJS-|[a-f0-9]{19}"),
    ("notion", "ntn_|[0-9]{11}[A-Za-z0-9]{35}"),
    ("notion old", "secret_|[A-Za-z0-9]{43}"),
    ("npm", "npm_|[A-Za-z0-9]{36}"),
    ("nuget", "oy2|[a-z0-9]{43}"),
    ("nvidia", "nvapi-|[A-Za-z0-9_-]{63}[A-Za-z0-9]"),
    ("octopus deploy", "API-|[A-Z0-9]{26}"),
    (
        "onepassword connect",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6|[A-Za-z0-9]{40}.eyJ[A-Za-z0-9]{80}.[A-Za-z0-9_-]{85}[A-Za-z0-9]",
    ),
    ("openai legacy", "sk-|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
    ("openai project", "sk-proj-|[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{73}[A-Za-z0-9]"),
    ("openai service account", "sk-svcacct-|[A-Za-z0-9_-]{58}T3BlbkFJ[A-Za-z0-9_-]{57}[A-Za-z0-9]"),
    ("openrouter", "sk-or-v1-|[a-f0-9]{64}"),
    ("openshift", "sha256~|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("paystack", "sk_live_|[a-f0-9]{40}"),
    ("perplexity", "pplx-|[A-Za-z0-9]{48}"),
    ("pinecone", "pcsk_|[A-Za-z0-9]{5}_[A-Za-z0-9]{63}"),
    ("plaid", "access-production-|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("planetscale token", "pscale_tkn_|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("planetscale password", "pscale_pw_|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("planetscale oauth", "pscale_oauth_|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("posthog personal", "phx_|[A-Za-z0-9]{43}"),
    ("postman", "PMAK-|[a-f0-9]{24}-[a-f0-9]{34}"),
    ("prefect", "pnu_|[A-Za-z0-9]{36}"),
    ("pulumi", "pul-|[a-f0-9]{40}"),
    ("pypi", "pypi-AgEIcHlwaS5vcmc|[A-Za-z0-9_-]{150}[A-Za-z0-9]"),
    ("razorpay", "rzp_live_|[A-Za-z0-9]{14}"),
    ("readme", "rdme_|[a-z0-9]{70}"),
    ("replicate", "r8_|[A-Za-z0-9]{37}"),
    ("resend", "re_|[A-Za-z0-9]{8}_[A-Za-z0-9]{24}"),
    ("rubygems", "rubygems_|[a-f0-9]{48}"),
    ("salesforce session", "00D[A-Za-z0-9]{12}!|AQ[A-Za-z0-9_.]{93}[A-Za-z0-9]"),
    ("scalingo", "tk-us-|[A-Za-z0-9_-]{47}[A-Za-z0-9]"),
    ("segment", "sgp_|[A-Za-z0-9]{64}"),
    ("sendgrid", "SG.|[A-Za-z0-9_-]{22}.[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("sendinblue", "xkeysib-|[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    ("sentry user", "sntryu_|[a-f0-9]{64}"),
    (
        "sentry organisation",
        "sntrys_|eyJpYXQiO[A-Za-z0-9]{60}LCJyZWdpb25fdXJs[A-Za-z0-9]{40}_[A-Za-z0-9]{43}",
    ),
    ("settlemint", "sm_pat_|[A-Za-z0-9]{16}"),
    ("shippo", "shippo_live_|[a-f0-9]{40}"),
    ("shopify access", "shpat_|[a-f0-9]{32}"),
    ("shopify custom", "shpca_|[a-f0-9]{32}"),
    ("shopify private", "shppa_|[a-f0-9]{32}"),
    ("shopify secret", "shpss_|[a-f0-9]{32}"),
    ("slack bot", "xoxb-|[0-9]{12}-[0-9]{13}-[A-Za-z0-9]{24}"),
    ("slack user", "xoxp-|[0-9]{12}-[0-9]{12}-[0-9]{13}-[a-f0-9]{32}"),
    ("slack app", "xapp-1-|A[A-Z0-9]{10}-[0-9]{13}-[a-f0-9]{64}"),
    ("slack configuration", "xoxe.xoxp-1-|[A-Za-z0-9]{163}"),
    ("slack refresh", "xoxe-1-|[A-Za-z0-9]{146}"),
    ("slack workspace", "xoxa-2-|[0-9]{12}-[0-9]{12}-[0-9]{12}-[a-f0-9]{32}"),
    ("slack client", "xoxc-|[0-9]{12}-[0-9]{12}-[0-9]{12}-[a-f0-9]{64}"),
    ("slack cookie", "xoxd-|[A-Za-z0-9]{40}%2B[A-Za-z0-9]{40}"),
    ("sonarqube user", "squ_|[a-f0-9]{40}"),
    ("sonarqube project", "sqp_|[a-f0-9]{40}"),
    ("sourcegraph", "sgp_|[a-f0-9]{16}_[a-f0-9]{40}"),
    ("square", "EAAA|[A-Za-z0-9_-]{59}[A-Za-z0-9]"),
    ("square application", "sq0atp-|[A-Za-z0-9_-]{21}[A-Za-z0-9]"),
    ("square secret", "sq0csp-|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("stripe live", "sk_live_|[A-Za-z0-9]{24}"),
    ("stripe long", "sk_live_|51[A-Za-z0-9]{97}"),
    ("stripe test", "sk_test_|[A-Za-z0-9]{24}"),
    ("stripe restricted", "rk_live_|[A-Za-z0-9]{24}"),
    ("stripe webhook", "whsec_|[A-Za-z0-9]{32}"),
    ("supabase", "sbp_|[a-f0-9]{40}"),
    ("supabase secret", "sb_secret_|[A-Za-z0-9_-]{22}_[A-Za-z0-9]{8}"),
    ("tailscale", "tskey-auth-|k[A-Za-z0-9]{11}CNTRL-[A-Za-z0-9]{32}"),
    ("tailscale api", "tskey-api-|k[A-Za-z0-9]{11}CNTRL-[A-Za-z0-9]{32}"),
    ("tavily", "tvly-|[A-Za-z0-9]{32}"),
    ("telegram bot", "[1-9][0-9]{9}:|AA[A-Za-z0-9_-]{32}[A-Za-z0-9]"),
    ("twilio key", "SK|[0-9a-f]{32}"),
    ("twitter bearer", "AAAAAAAAAAAAAAAAAAAAA|[A-Za-z0-9]{20}%3D[A-Za-z0-9]{50}"),
    ("typeform", "tfp_|[A-Za-z0-9]{44}_[A-Za-z0-9]{14}"),
    ("vault service", "hvs.|CAES[A-Za-z0-9_-]{89}[A-Za-z0-9]"),
    ("vault batch", "hvb.|AAAA[A-Za-z0-9_-]{140}[A-Za-z0-9]"),
    ("vercel blob", "vercel_blob_rw_|[A-Za-z0-9]{16}_[A-Za-z0-9]{30}"),
    ("voyage", "pa-|[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("xai", "xai-|[A-Za-z0-9]{80}"),
    ("yandex key", "AQVN|[A-Za-z0-9_-]{34}[A-Za-z0-9]"),
    ("yandex iam", "t1.|9eu[A-Za-z0-9_-]{120}.[A-Za-z0-9_-]{86}"),
    ("yandex storage", "YCA|[A-Za-z0-9_-]{36}[A-Za-z0-9]"),
    ("azure function", "[A-Za-z0-9_-]{44}AzFu|[A-Za-z0-9_-]{6}=="),
    ("azure search", "[A-Za-z0-9]{42}AzSe|[A-D][A-Za-z0-9]{5}"),
    ("azure openai", "[A-Za-z0-9]{52}JQQJ99|B[A-Z]AC[A-Za-z0-9]{5}XJ3w3AAAB[A-Za-z0-9]{8}"),
    ("bitbucket data center", "BBDC-|[A-Za-z0-9+/]{43}[A-Za-z0-9]"),
    ("clerk", "sk_live_|[A-Za-z0-9]{42}"),
    ("close", "api_|[A-Za-z0-9]{22}.[A-Za-z0-9]{22}"),
    ("cloudflare user", "cfut_|[A-Za-z0-9]{40}[a-f0-9]{8}"),
    ("cloudflare account", "cfat_|[A-Za-z0-9]{40}[a-f0-9]{8}"),
    ("context7", "ctx7sk-|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("docker swarm", "SWMTKN-1-|[a-z0-9]{50}-[a-z0-9]{25}"),
    ("doppler cli", "dp.ct.|[A-Za-z0-9]{43}"),
    ("e2b", "e2b_|[a-f0-9]{40}"),
    ("endor labs", "endr+|[A-Za-z0-9-]{15}[A-Za-z0-9]"),
    ("facebook user", "EAA|[A-Z][A-Za-z0-9]{150}"),
    ("firecrawl", "fc-|[a-f0-9]{32}"),
    ("fireworks", "fw_|[A-Za-z0-9]{24}"),
    ("fly.io version 1", "FlyV1 fm2_|[A-Za-z0-9+/]{500}"),
    ("atlassian service", "ATSTT3|[A-Za-z0-9_-]{178}=[A-F0-9]{8}"),
    ("inngest", "signkey-prod-|[a-f0-9]{64}"),
    ("instagram", "IGQV|[A-Za-z0-9_-]{130}[A-Za-z0-9]"),
    ("jina", "jina_|[a-f0-9]{32}[A-Za-z0-9_-]{27}[A-Za-z0-9]"),
    ("k3s", "K10|[a-f0-9]{64}::server:[a-f0-9]{32}"),
    ("llama cloud", "llx-|[A-Za-z0-9]{48}"),
    ("new relic query", "NRIQ-|[A-Za-z0-9_-]{31}[A-Za-z0-9]"),
    ("new relic licence", "[a-f0-9]{32}|FFFFNRAL"),
    ("owasp dependency-track", "odt_|[A-Za-z0-9]{32}"),
    ("pubnub secret", "sec-c-|[A-Za-z0-9+/]{47}="),
    ("ramp", "ramp_sec_|[A-Za-z0-9]{48}"),
    ("render", "rnd_|[A-Za-z0-9]{28}"),
    ("rootly", "rootly_|[a-f0-9]{64}"),
    ("runpod", "rpa_|[A-Z0-9]{40}[a-z0-9]{6}"),
    ("salesforce consumer", "3MVG9|[A-Za-z0-9._]{79}[A-Za-z0-9]"),
    ("sourcegraph licence", "slk_|[a-f0-9]{64}"),
    ("stackhawk", "hawk.|[A-Za-z0-9]{20}.[A-Za-z0-9]{20}"),
    ("stripe payment secret", "pi_3|[A-Za-z0-9]{23}_secret_[A-Za-z0-9]{25}"),
    ("teamwork", "tkn.v1_|[A-Za-z0-9]{80}="),
    ("telnyx", "KEY01|[A-F0-9]{30}_[A-Za-z0-9]{22}"),
    ("trigger.dev", "tr_prod_|[A-Za-z0-9]{20}"),
    ("ubidots", "BBFF-|[A-Za-z0-9]{30}"),
    ("voiceflow", "VF.DM.|[a-f0-9]{24}.[A-Za-z0-9]{16}"),
    ("zoho", "1000.|[a-f0-9]{32}.[a-f0-9]{32}"),
    ("zuplo", "zpka_|[a-f0-9]{32}_[a-f0-9]{8}"),
];

/// Names of vendors and the shapes of keys that look like any other random value.
const NAMED: &[(&str, &str)] = &[
    ("ADAFRUIT_IO_KEY", "[a-f0-9]{32}"),
    ("ALGOLIA_ADMIN_KEY", "[a-f0-9]{32}"),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "[A-Za-z0-9]{30}"),
    ("ASANA_CLIENT_SECRET", "[a-f0-9]{32}"),
    ("ASSEMBLYAI_API_KEY", "[a-f0-9]{32}"),
    ("AUTH0_CLIENT_SECRET", "[A-Za-z0-9_-]{63}[A-Za-z0-9]"),
    ("AZURE_OPENAI_API_KEY", "[a-f0-9]{32}"),
    ("BEAMER_API_KEY", "b_[A-Za-z0-9]{44}"),
    ("BITBUCKET_CLIENT_SECRET", "[A-Za-z0-9]{32}"),
    ("BITTREX_SECRET_KEY", "[a-f0-9]{32}"),
    ("BUGSNAG_API_KEY", "[a-f0-9]{32}"),
    ("CISCO_MERAKI_API_KEY", "[a-f0-9]{40}"),
    ("CLOUDFLARE_API_TOKEN", "[A-Za-z0-9_-]{39}[A-Za-z0-9]"),
    ("CLOUDFLARE_API_KEY", "[a-f0-9]{37}"),
    ("CODECOV_TOKEN", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("COHERE_API_KEY", "[A-Za-z0-9]{40}"),
    ("COINBASE_API_SECRET", "[A-Za-z0-9]{64}"),
    ("CONFLUENT_API_SECRET", "[A-Za-z0-9+/]{64}"),
    ("CONTENTFUL_DELIVERY_TOKEN", "[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("DATADOG_API_KEY", "[a-f0-9]{32}"),
    ("DD_APP_KEY", "[a-f0-9]{40}"),
    ("DEEPGRAM_API_KEY", "[a-f0-9]{40}"),
    ("DEEPSEEK_API_KEY", "sk-[a-f0-9]{32}"),
    ("DISCORD_CLIENT_SECRET", "[A-Za-z0-9_-]{31}[A-Za-z0-9]"),
    ("DRONE_TOKEN", "[A-Za-z0-9]{32}"),
    ("DROPBOX_APP_SECRET", "[a-z0-9]{15}"),
    ("ETSY_API_KEY", "[a-z0-9]{24}"),
    ("FACEBOOK_APP_SECRET", "[a-f0-9]{32}"),
    ("FASTLY_API_TOKEN", "[A-Za-z0-9_-]{31}[A-Za-z0-9]"),
    ("FINICITY_APP_KEY", "[a-f0-9]{32}"),
    ("FINNHUB_API_KEY", "[a-z0-9]{20}"),
    ("FLICKR_API_SECRET", "[a-f0-9]{16}"),
    ("FRESHBOOKS_CLIENT_SECRET", "[a-f0-9]{64}"),
    ("FRESHDESK_API_KEY", "[A-Za-z0-9]{20}"),
    ("GEMFURY_PUSH_TOKEN", "[A-Za-z0-9]{26}"),
    ("GITTER_TOKEN", "[a-f0-9]{40}"),
    ("GOCARDLESS_ACCESS_TOKEN", "live_[A-Za-z0-9_-]{39}[A-Za-z0-9]"),
    ("HEROKU_API_KEY", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("HUBSPOT_API_KEY", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("INTERCOM_ACCESS_TOKEN", "[A-Za-z0-9=_-]{59}[A-Za-z0-9]"),
    ("JENKINS_API_TOKEN", "11[a-f0-9]{32}"),
    ("JIRA_API_TOKEN", "[A-Za-z0-9]{24}"),
    ("KRAKEN_API_SECRET", "[A-Za-z0-9+/]{86}=="),
    ("KUCOIN_SECRET_KEY", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    (
        "LAUNCHDARKLY_ACCESS_TOKEN",
        "api-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ),
    ("LINE_CHANNEL_SECRET", "[a-f0-9]{32}"),
    ("LINKEDIN_CLIENT_SECRET", "[A-Za-z0-9]{16}"),
    ("LOB_API_KEY", "live_[a-f0-9]{35}"),
    ("LOOKER_CLIENT_SECRET", "[A-Za-z0-9]{24}"),
    ("MATTERMOST_TOKEN", "[a-z0-9]{26}"),
    ("MESSAGEBIRD_ACCESS_KEY", "[A-Za-z0-9]{25}"),
    ("MISTRAL_API_KEY", "[A-Za-z0-9]{32}"),
    ("NETLIFY_AUTH_TOKEN", "[A-Za-z0-9_-]{42}[A-Za-z0-9]"),
    ("NEW_RELIC_LICENSE_KEY", "[a-f0-9]{36}NRAL"),
    ("NYTIMES_API_KEY", "[A-Za-z0-9]{32}"),
    ("OKTA_API_TOKEN", "00[A-Za-z0-9_-]{39}[A-Za-z0-9]"),
    ("OPENWEATHER_API_KEY", "[a-f0-9]{32}"),
    ("PAGERDUTY_API_KEY", "[A-Za-z0-9+]{20}"),
    ("PAYPAL_CLIENT_SECRET", "E[A-Za-z0-9_-]{78}[A-Za-z0-9]"),
    ("PLAID_SECRET", "[a-f0-9]{30}"),
    ("PUSHER_APP_SECRET", "[a-f0-9]{20}"),
    ("RAPIDAPI_KEY", "[a-z0-9]{50}"),
    ("ROLLBAR_ACCESS_TOKEN", "[a-f0-9]{32}"),
    ("SENDBIRD_API_TOKEN", "[a-f0-9]{40}"),
    ("SENTRY_AUTH_TOKEN", "[a-f0-9]{64}"),
    ("SNYK_TOKEN", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("SONAR_TOKEN", "[a-f0-9]{40}"),
    ("SPOTIFY_CLIENT_SECRET", "[a-f0-9]{32}"),
    ("SQUARESPACE_API_KEY", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ("SUMO_ACCESS_KEY", "[A-Za-z0-9]{64}"),
    ("TOGETHER_API_KEY", "[a-f0-9]{64}"),
    ("TRAVIS_TOKEN", "[A-Za-z0-9_-]{21}[A-Za-z0-9]"),
    ("TRELLO_TOKEN", "[a-f0-9]{64}"),
    ("TWILIO_AUTH_TOKEN", "[a-f0-9]{32}"),
    ("TWITCH_CLIENT_SECRET", "[a-z0-9]{30}"),
    ("TWITTER_API_SECRET", "[A-Za-z0-9]{50}"),
    ("TWITTER_ACCESS_TOKEN", "[0-9]{18}-[A-Za-z0-9]{40}"),
    ("VERCEL_TOKEN", "[A-Za-z0-9]{24}"),
    ("VULTR_API_KEY", "[A-Z0-9]{36}"),
    ("WANDB_API_KEY", "[a-f0-9]{40}"),
    ("ZENDESK_API_TOKEN", "[A-Za-z0-9]{40}"),
];

/// Where a token with a shape of its own is seen, nothing beside it saying what it is.
const BARE: &[&str] = &[
    "{}",
    "the token is {}",
    "I used {} and it worked",
    "got {}, then retried",
    "Please rotate {}.",
    "see ({}) for the old one",
    "> {}",
    "[\"{}\"]",
    "value={}&page=2",
    "  - {}",
    "client = Client(\"{}\")",
    "new Client('{}', { retries: 3 })",
    "login failed for {}: 401 Unauthorized",
    "curl https://api.~d~/v1/me?x={}",
    "export X={}",
    "{}\n",
    "1\t{}",
    "const a = `{}`;",
    "INFO ~w~ started with {} on port 8080",
    "echo {} | base64",
    "$ ~w~ login {}\nok",
    "{\"value\":\"{}\"}",
];

/// Where a vendor's key stands by its name.
const BY_NAME: &[&str] = &[
    "NAME={}",
    "export NAME=\"{}\"",
    "NAME: {}",
    "  \"NAME\": \"{}\",",
    "const NAME = '{}';",
    "os.environ[\"NAME\"] = \"{}\"",
    "-e NAME={} \\",
    "NAME = \"{}\"",
    "- name: NAME\n  value: \"{}\"",
    "$env:NAME = '{}'",
    "ENV NAME {}",
    "fly secrets set NAME={}",
];

/// The names of every token shape there is.
pub fn shapes() -> usize {
    TOKENS.len()
}

pub fn names() -> usize {
    NAMED.len()
}

/// A token of a vendor's shape.
pub fn token(chance: &mut Chance, index: usize) -> (&'static str, String) {
    let (name, pattern) = TOKENS[index % TOKENS.len()];
    let joined = if pattern.contains("\\|") {
        pattern.replacen("\\||", "\\|", 1)
    } else {
        pattern.replacen('|', "", 1)
    };
    (name, shape(chance, &joined))
}

pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let (name, token) = token(chance, index);
    let place = pick(chance, BARE);
    let text = fill(chance, place, &token);
    Sample::new(name, text, &[&token])
}

pub fn named(chance: &mut Chance, index: usize) -> Sample {
    let (name, pattern) = NAMED[index % NAMED.len()];
    let value = shape(chance, pattern);
    // A name as the language at hand writes it.
    let place = pick(chance, BY_NAME);
    let name = match chance.below(4) {
        0 if place.contains(':') || place.contains('\'') => camel(name),
        1 => name.to_lowercase(),
        _ => name.to_string(),
    };
    let text = fill(chance, &place.replace("NAME", &name), &value);
    Sample::new(&name, text, &[&value])
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    for (i, part) in name.split('_').enumerate() {
        let part = part.to_lowercase();
        if i == 0 {
            out.push_str(&part);
        } else {
            out.push_str(&part[..1].to_uppercase());
            out.push_str(&part[1..]);
        }
    }
    out
}

/// Names beside values that are nobody's secret.
const PUBLIC: &[(&str, &str)] = &[
    ("SENTRY_ENVIRONMENT", "production"),
    ("DATADOG_SITE", "datadoghq.eu"),
    ("ALGOLIA_INDEX_NAME", "products_eu"),
    ("STRIPE_API_VERSION", "2024-06-20"),
    ("HEROKU_APP_NAME", "blue-field-4411"),
    ("OPENAI_MODEL", "gpt-4o-mini-2024-07-18"),
    ("ANTHROPIC_MODEL", "claude-3-5-sonnet-20241022"),
    ("SLACK_CHANNEL", "C024BE91L"),
    ("TWILIO_PHONE_COUNTRY", "DE"),
    ("GITHUB_REPOSITORY", "northquay/ledger"),
    ("GITHUB_SHA", "SHA"),
    ("GITHUB_RUN_ID", "9182736450"),
    ("CLOUDFLARE_ZONE", "northquay.dev"),
    ("VERCEL_GIT_COMMIT_SHA", "SHA"),
    ("CIRCLE_SHA1", "SHA"),
    ("SENTRY_RELEASE", "SHA"),
    ("NETLIFY_SITE_NAME", "quiet-otter-1a2b3c"),
    ("LAUNCHDARKLY_TIMEOUT", "5000"),
    ("DATABRICKS_RUNTIME_VERSION", "14.3.x-scala2.12"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_DEFAULT_OUTPUT", "json"),
    ("TF_VERSION", "1.9.5"),
    ("DOCKER_IMAGE_DIGEST", "sha256:DIGEST"),
    ("BUILDKITE_BUILD_ID", "UUID"),
    ("NEW_RELIC_APP_NAME", "ledger-production"),
    ("COHERE_MODEL", "command-r-plus-08-2024"),
];

pub fn named_alike(chance: &mut Chance, index: usize) -> Sample {
    let (name, value) = PUBLIC[index % PUBLIC.len()];
    let value = value
        .replace("SHA", &hex(chance, 40))
        .replace("DIGEST", &hex(chance, 64))
        .replace("UUID", &uuid(chance));
    let place = pick(chance, BY_NAME);
    let text = fill(chance, &place.replace("NAME", name), &value);
    Sample::kept(name, text)
}

/// Things with a vendor's prefix or a token's look that are neither.
const ALIKE: &[&str] = &[
    "tokens that start with ghp_ are personal access tokens",
    "const PREFIX = \"sk-ant-api03-\";",
    "re.compile(r\"ghp_[A-Za-z0-9]{36}\")",
    "regex = '''xox[baprs]-[0-9a-zA-Z]{10,48}'''",
    "if key.startswith(\"sk_live_\"):",
    "hf_hub_download(repo_id=\"org/model\", filename=\"config.json\")",
    "npm_config_registry=https://registry.npmjs.org/",
    "npm_lifecycle_event=test npm_package_name=ledger",
    "npm_package_dependencies_react_router_dom_version",
    "pat_matching_over_the_whole_list_of_words",
    "shippo_label_rates_for_parcels_in_order",
    "sk_learn_pipeline_with_standard_scaler_step",
    "SG_PREFIX_MAXIMUM_LENGTH_IN_CHARACTERS",
    "secret_manager_client_for_the_staging_project",
    "re_export_all_types_from_the_index_module",
    "pk_customers_orders_by_region_and_month",
    "AKIA followed by 16 characters is an access key id",
    "arn:aws:iam::123456789012:role/ci-deploy",
    "commit SHA\nAuthor: build <noreply@github.com>",
    "git checkout SHA7 -- src/lib.rs",
    "HEAD is now at SHA7 Fix the parser",
    "https://github.com/~w~/~w~/commit/SHA",
    "index SHA7..SHA7 100644",
    "sha256:DIGEST",
    "image: ghcr.io/northquay/~w~@sha256:DIGEST",
    "DIGEST  ~w~-1.2.3.tar.gz",
    "MD5 (~w~.iso) = MD5SUM",
    "SHA512SUM *~w~.zip",
    "ETag: \"MD5SUM\"",
    "etag: W/\"MD5SUM\"",
    "\"integrity\": \"sha512-B64X64\",",
    "  integrity sha512-B64X64",
    "  resolution: {integrity: sha512-B64X64}",
    "checksum = \"DIGEST\"",
    "github.com/pkg/errors v0.9.1 h1:B64X32",
    "github.com/pkg/errors v0.9.1/go.mod h1:B64X32",
    "    {file = \"~w~-2.0.1-py3-none-any.whl\", hash = \"sha256:DIGEST\"},",
    "--hash=sha256:DIGEST \\",
    "<script src=\"/app.js\" integrity=\"sha384-B64X48\" crossorigin>",
    "traceparent: 00-MD5SUM-HEX16-01",
    "trace_id=MD5SUM span_id=HEX16 level=info",
    "\"requestId\": \"UUID\"",
    "id: ULID",
    "call_HEX24 finished",
    "toolu_01RAND22 returned",
    "req_011RAND22",
    "msg_01RAND22",
    "\"id\": \"chatcmpl-RAND29\"",
    "pi_3RAND22 succeeded for cus_RAND14",
    "file-RAND22.pdf",
    "s3://~w~-artifacts/builds/SHA/app.zip",
    "https://~w~.s3.eu-central-1.amazonaws.com/2024/07/UUID.png",
    "nix/store/NIX32-rust-1.80.0",
    "/nix/store/NIX32-openssl-3.0.14/bin",
    "chunk-RAND8.js   12.4 kB",
    "assets/index-RAND8.css",
    "app.MD5SUM.js",
    "docker run -d --name ~w~ DIGEST12",
    "CONTAINER ID   IMAGE\nDIGEST12   redis:7",
    "Successfully built DIGEST12",
    "revision = \"SHA\"",
    "rev: SHA",
    "uses: actions/checkout@SHA # v4",
    "\"gitHead\": \"SHA\"",
    "pod/~w~-6d4cf56db6-x7k2p   1/1   Running",
    "replicaset.apps/~w~-7f9c8d6b5c created",
    "0xHEX40 transferred 4 tokens",
    "00000010: HEX4 HEX4 HEX4 HEX4 HEX4 HEX4 HEX4 HEX4  ........",
    "fingerprint SHA256:B64N43",
    "data:image/png;base64,PNG",
    "<img src=\"data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7\">",
    "!function(e,t){\"object\"==typeof exports?t(exports):t(e.ZxQ={})}(this,function(e){var r=e.a0B1c2;});",
    "e.exports=n.p+\"static/media/logo.HEX8.svg\"",
    ".Button_root__RAND5 { color: #a1b2c3; background: url(#HEX8); }",
    "class=\"css-1q2w3e4 MuiButton-root-RAND5\"",
    "cache key: Linux-cargo-DIGEST",
    "Restored from key node-modules-MD5SUM",
    "v1.2.3-0.20240701120000-HEX12",
    "jti UUID expired",
    "Build fingerprint: 'google/sdk_gphone64/emu64:14/UE1A.230829.036/10990786:userdebug'",
    "0 20 * * * /usr/bin/backup",
    "bitcoin block 00000000000000000002HEX44",
    "torch==2.4.0+cu121 (cp311-cp311-manylinux_2_28_x86_64)",
    "test parser::tests::ghp_tokens_are_found ... ok",
    "rustc-HEX16.so",
    "target/debug/deps/~w~-HEX16",
    "\"contenthash\": \"HEX20\"",
];

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let template = ALIKE[index % ALIKE.len()];
    let text = super::values::words(chance, template);
    Sample::kept(template, digests(chance, &text))
}

/// Fills the harmless random values in.
pub fn digests(chance: &mut Chance, text: &str) -> String {
    let table: &[(&str, &str)] = &[
        ("SHA512SUM", "[0-9a-f]{128}"),
        ("SHA7", "[0-9a-f]{7}"),
        ("DIGEST12", "[0-9a-f]{12}"),
        ("DIGEST", "[0-9a-f]{64}"),
        ("MD5SUM", "[0-9a-f]{32}"),
        ("HEX44", "[0-9a-f]{44}"),
        ("HEX40", "[0-9a-f]{40}"),
        ("HEX24", "[0-9a-f]{24}"),
        ("HEX20", "[0-9a-f]{20}"),
        ("HEX16", "[0-9a-f]{16}"),
        ("HEX12", "[0-9a-f]{12}"),
        ("HEX8", "[0-9a-f]{8}"),
        ("HEX4", "[0-9a-f]{4}"),
        ("B64X64", "[A-Za-z0-9+/]{85}[AQgw]=="),
        ("B64X48", "[A-Za-z0-9+/]{64}"),
        ("B64X32", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="),
        ("B64N43", "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]"),
        ("ULID", "01[HJ][0-9A-HJKMNP-TV-Z]{23}"),
        ("NIX32", "[0-9a-df-np-sv-z]{32}"),
        ("PNG", "iVBORw0KGgoAAAANSUhEUgAAA[A-Za-z0-9+/]{200}ASUVORK5CYII="),
    ];
    let mut out = text.to_string();
    while let Some(at) = out.find("UUID") {
        let id = uuid(chance);
        out.replace_range(at..at + 4, &id);
    }
    for (name, pattern) in table {
        while let Some(at) = out.find(name) {
            let value = shape(chance, pattern);
            out.replace_range(at..at + name.len(), &value);
        }
    }
    while let Some(at) = out.find("RAND") {
        let digits: String = out[at + 4..].chars().take_while(char::is_ascii_digit).collect();
        let value = random(chance, digits.parse().unwrap_or(8));
        out.replace_range(at..at + 4 + digits.len(), &value);
    }
    // Last, since it is part of other words.
    let mut from = 0;
    while let Some(at) = out[from..].find("SHA").map(|at| at + from) {
        let alone = !out[at + 3..].starts_with(|c: char| c.is_ascii_alphanumeric())
            && !out[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        from = at + 3;
        if alone {
            let value = hex(chance, 40);
            out.replace_range(at..at + 3, &value);
        }
    }
    out
}
