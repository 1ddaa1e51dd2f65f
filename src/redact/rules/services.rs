//! Keys of services that have no shape of their own: the service's name, a place where a value is
//! assigned, and a value of exactly the length and alphabet that the service uses.

use std::sync::LazyLock;

use super::values::{is_placeholder, is_uuid};
use super::words::{is_words, split_words};
use super::{Hit, Rule, after, entropy, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("service-key", "API", Class::Vendor)];

/// Alphabet and length of a key.
#[derive(Clone, Copy)]
enum Shape {
    Hex(usize),
    Lower(usize),
    Mixed(usize),
    /// With `_`, `-` and `=`
    Wide(usize),
    Base64(usize),
    Uuid,
    /// The key of Okta, which begins with two zeros
    Okta,
}
use Shape::{Base64, Hex, Lower, Mixed, Okta, Uuid, Wide};

/// Services and the shapes of their keys.
#[rustfmt::skip]
const SERVICES: &[(&str, &[Shape])] = &[
    ("adafruit", &[Wide(32)]), ("adobe", &[Hex(32)]), ("airbrake", &[Hex(32), Wide(40)]),
    ("airtable", &[Mixed(17)]), ("alchemy", &[Wide(32)]), ("algolia", &[Lower(32)]),
    ("alibaba", &[Mixed(30)]), ("aliyun", &[Mixed(30)]), ("amplitude", &[Hex(32)]),
    ("anypoint", &[Uuid]), ("asana", &[Lower(32)]), ("assemblyai", &[Lower(32)]),
    ("atlassian", &[Mixed(20), Mixed(24)]), ("confluence", &[Mixed(20), Mixed(24)]),
    ("jira", &[Mixed(20), Mixed(24)]), ("auth0", &[Wide(64)]), ("bitbucket", &[Wide(44), Wide(64), Lower(32)]),
    ("bitly", &[Lower(40)]), ("bittrex", &[Lower(32)]), ("binance", &[Mixed(64)]), ("blazemeter", &[Uuid]),
    ("browserstack", &[Mixed(20)]), ("bugsnag", &[Hex(32), Uuid]), ("buildkite", &[Lower(40)]),
    ("circleci", &[Hex(40)]), ("clearbit", &[Wide(35)]), ("clarifai", &[Lower(32)]),
    ("cloudflare", &[Wide(40), Hex(37)]), ("cloudinary", &[Wide(27)]), ("codacy", &[Mixed(20), Hex(32)]),
    ("codecov", &[Lower(32), Uuid]), ("codeclimate", &[Hex(64), Hex(40)]), ("cohere", &[Mixed(40)]),
    ("coinbase", &[Wide(64), Mixed(32)]), ("confluent", &[Mixed(16), Base64(64)]),
    ("contentful", &[Wide(43)]), ("coveralls", &[Mixed(33), Mixed(37)]), ("datadog", &[Hex(32), Lower(40)]),
    ("deepgram", &[Hex(40)]), ("discord", &[Hex(64), Wide(32)]), ("drone", &[Mixed(32)]), ("droneci", &[Lower(32)]),
    ("dropbox", &[Lower(15)]), ("etherscan", &[Mixed(34)]), ("etsy", &[Lower(24)]), ("eventbrite", &[Mixed(20)]),
    ("facebook", &[Hex(32)]), ("fastly", &[Wide(32)]), ("finicity", &[Hex(32), Lower(20)]),
    ("finnhub", &[Lower(20)]), ("flickr", &[Lower(32), Lower(16)]), ("foursquare", &[Mixed(48)]),
    ("freshbooks", &[Lower(64)]), ("freshdesk", &[Mixed(20)]), ("fullstory", &[Base64(64)]),
    ("ghost", &[Hex(64)]), ("gitter", &[Wide(40)]), ("gemfury", &[Mixed(20)]), ("giphy", &[Mixed(32)]),
    ("heroku", &[Uuid]), ("hetzner", &[Mixed(64)]), ("honeycomb", &[Mixed(22), Hex(32)]), ("hubspot", &[Uuid]),
    ("hunter.io", &[Hex(40)]), ("hunter_io", &[Hex(40)]), ("ibm_cloud", &[Wide(44)]), ("infura", &[Hex(32)]),
    ("instagram", &[Hex(32)]), ("intercom", &[Wide(60)]), ("ipinfo", &[Hex(14)]), ("ipstack", &[Hex(32)]),
    ("jfrog", &[Lower(73), Lower(64), Mixed(73), Mixed(64)]), ("artifactory", &[Mixed(73), Mixed(64)]),
    ("jumpcloud", &[Hex(40)]), ("klaviyo", &[Mixed(37)]), ("kraken", &[Base64(86), Base64(88)]),
    ("kucoin", &[Hex(24), Uuid]), ("launchdarkly", &[Wide(40)]), ("linear", &[Hex(32)]),
    ("linode", &[Hex(64)]), ("linkedin", &[Mixed(16)]), ("linked_in", &[Mixed(16)]), ("looker", &[Lower(24)]),
    ("mailchimp", &[Hex(32)]), ("mailgun", &[Hex(32)]), ("mailjet", &[Hex(32)]), ("mapquest", &[Mixed(32)]),
    ("mattermost", &[Lower(26)]), ("meraki", &[Hex(40)]), ("messagebird", &[Mixed(25)]),
    ("message_bird", &[Mixed(25)]), ("mistral", &[Mixed(32)]), ("mixpanel", &[Hex(32)]),
    ("netlify", &[Wide(43), Wide(40), Wide(45)]), ("newrelic", &[Lower(64), Hex(40)]),
    ("new_relic", &[Lower(64), Hex(40)]), ("new-relic", &[Lower(64), Hex(40)]), ("newsapi", &[Hex(32)]),
    ("ngrok", &[Wide(48), Wide(49)]), ("nomad", &[Uuid]), ("consul", &[Uuid]), ("nytimes", &[Wide(32)]), ("okta", &[Okta]),
    ("onesignal", &[Mixed(48), Uuid]), ("openweather", &[Hex(32)]), ("opsgenie", &[Uuid]),
    ("optimizely", &[Wide(54)]), ("pagerduty", &[Wide(20), Hex(32)]), ("papertrail", &[Mixed(20)]),
    ("pinecone", &[Uuid]), ("plaid", &[Lower(30)]), ("postmark", &[Uuid]), ("private_ai", &[Lower(32)]),
    ("privateai", &[Lower(32)]), ("pusher", &[Hex(20)]), ("rapidapi", &[Wide(50)]), ("railway", &[Uuid]),
    ("rollbar", &[Hex(32)]), ("saucelabs", &[Uuid]), ("sauce_access", &[Uuid]), ("scaleway", &[Uuid]), ("segment", &[Mixed(32)]),
    ("semaphore", &[Mixed(20)]), ("sendbird", &[Hex(40)]), ("sentry", &[Hex(64)]), ("shodan", &[Mixed(32)]),
    ("sidekiq", &[Hex(16)]), ("snowflake", &[Mixed(32)]), ("snyk", &[Uuid]), ("sonar", &[Hex(40)]),
    ("sourcegraph", &[Hex(40)]), ("sparkpost", &[Hex(40)]), ("splunk", &[Uuid, Mixed(22)]), ("spotify", &[Hex(32)]),
    ("squarespace", &[Uuid]), ("statuspage", &[Uuid]), ("strava", &[Hex(40)]), ("sumo", &[Mixed(64)]),
    ("surge", &[Hex(32)]), ("telegram", &[Wide(46)]), ("todoist", &[Hex(40)]), ("toggl", &[Hex(32)]),
    ("travis", &[Wide(22)]), ("trello", &[Hex(32), Hex(64)]), ("twilio", &[Hex(32)]), ("twitch", &[Lower(30)]),
    ("twitter", &[Mixed(25), Mixed(35), Mixed(45), Mixed(50)]), ("unsplash", &[Wide(43)]), ("vercel", &[Mixed(24)]),
    ("virustotal", &[Hex(64)]), ("vonage", &[Mixed(16)]), ("nexmo", &[Mixed(16)]), ("vultr", &[Mixed(36)]),
    ("wandb", &[Hex(40)]), ("weatherbit", &[Hex(32)]), ("webflow", &[Hex(64)]), ("yelp", &[Wide(128)]),
    ("zendesk", &[Mixed(40)]), ("zerotier", &[Mixed(32)]), ("zoominfo", &[Mixed(32)]), ("zoom_", &[Mixed(32)]),
    ("contribsys", &[Hex(8)]),
];

/// Words between the service and the value which say that the value is something else.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "commit", "sha", "sha1", "sha256", "sha512", "md5", "hash", "digest", "checksum", "version", "rev",
    "revision", "ref", "id", "ids", "etag", "url", "uri", "host", "image", "build", "branch", "tag",
    "trace", "span", "request", "account", "tenant", "org", "project", "team", "site", "zone", "user",
    "name", "region", "public", "integrity", "path", "file", "layer", "uuid", "guid", "sum", "size",
];

/// What the scanner looks for.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(name, _)| *name)
}

/// What a byte may stand for in a key, as bits of a set.
static KINDS: LazyLock<[bool; 256]> = LazyLock::new(|| {
    let mut kinds = [false; 256];
    (0..=255u8)
        .for_each(|b| kinds[b as usize] = b.is_ascii_alphanumeric() || b"_-=+/".contains(&b));
    kinds
});

/// After the name of service `index`, at `end`.
pub fn service(index: usize, text: &str, end: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, end, 64).as_bytes();
    let is_name = |b: &&u8| b.is_ascii_alphanumeric() || b"_-. ".contains(b);
    let name = tail.iter().take(28).take_while(is_name).count();
    let blank = |from: usize, what: &[u8]| {
        from + tail[from.min(tail.len())..].iter().take(4).take_while(|b| what.contains(b)).count()
    };
    let sign = blank(name, b"\"'`] \t");
    let separator =
        tail[sign.min(tail.len())..].iter().take(3).take_while(|b| b"=:>,|".contains(b)).count();
    if separator == 0 {
        return;
    }
    let from = end + blank(sign + separator, b"\"'` \t");
    let bytes = text.as_bytes();
    let length = bytes[from..].iter().take(132).take_while(|b| KINDS[**b as usize]).count();
    let value = &text[from..from + length];
    let said = &text[end..end + name];
    let shape = SERVICES[index].1.iter().find(|shape| fits(**shape, value));
    let harmless =
        || split_words(said).any(|word| HARMLESS.contains(&word.to_ascii_lowercase().as_str()));
    // A UUID is an id unless it is said to be a key.
    let keyed = || {
        let last = split_words(said).last().map(str::to_ascii_lowercase);
        last.is_none_or(|w| ["key", "token", "secret", "auth", "api", "pass"].contains(&w.as_str()))
    };
    if shape.is_some_and(|shape| !matches!(shape, Uuid) || keyed()) && !harmless() {
        hits.push(Hit::new(from, from + length, &RULES[0]));
    }
}

fn fits(shape: Shape, value: &str) -> bool {
    let all = |f: fn(&u8) -> bool| value.as_bytes().iter().all(f);
    let (length, alphabet) = match shape {
        Hex(n) => (n, all(u8::is_ascii_hexdigit)),
        Lower(n) => (n, all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())),
        Mixed(n) => (n, all(u8::is_ascii_alphanumeric)),
        Wide(n) => (n, all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(b))),
        Base64(n) => (n, all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b))),
        Okta => (
            42,
            value.starts_with("00") && all(|b| b.is_ascii_alphanumeric() || b"_-=".contains(b)),
        ),
        Uuid => return is_uuid(value),
    };
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let least = if length < 20 { 2.6 } else { 3.0 };
    value.len() == length
        && alphabet
        && digits < length
        && (digits > 0 || length >= 24)
        && entropy(value.as_bytes()) >= least
        && !is_words(value)
        && !is_placeholder(value)
}
