//! Keys of vendors that only a name gives away.

use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::values::{fill, pick, shape};

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

/// How many names there are.
pub fn shapes() -> usize {
    NAMED.len()
}

pub fn plain(chance: &mut Chance, index: usize) -> Sample {
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

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let (name, value) = PUBLIC[index % PUBLIC.len()];
    let value = digests(chance, value);
    let place = pick(chance, BY_NAME);
    let text = fill(chance, &place.replace("NAME", name), &value);
    Sample::kept(name, text)
}
