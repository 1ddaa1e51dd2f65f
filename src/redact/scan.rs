//! One pass over one view of a text: keywords first, then the rules that begin at them.

use std::sync::LazyLock;

use anyhow::Result;

use super::keywords::Keywords;
use super::policy::{Class, Policy};
use super::rules::{
    Hit, assignments, calls, commands, files, headers, names, numbers, people, private_keys, prose,
    services, urls, vendor,
};
use super::team::TeamRules;

/// What a keyword starts.
#[derive(Clone, Copy)]
enum Trigger {
    Token(usize),
    Name,
    Authorization,
    Cookie,
    Url,
    AtSign,
    Home,
    Host,
    KeyMarker,
    Putty,
    Command(&'static str),
    Netrc,
    Pgpass,
    Call(usize),
    Insert,
    KnownCookie,
    Printed(usize),
    Relay,
    AtAddress,
    Oracle,
    KeyXml,
    Jwk,
    Service(usize),
    Shadow,
    Accounts,
    CookieLine,
    KeyFile,
    Foreign,
}

struct Prefilter {
    keywords: Keywords,
    triggers: Vec<Trigger>,
}

static PREFILTER: LazyLock<Prefilter> = LazyLock::new(|| {
    let mut words = Vec::new();
    let mut triggers = Vec::new();
    let mut add = |word: &'static str, trigger: Trigger| {
        // A token's pattern says itself how its key is written.
        words.push((word, matches!(trigger, Trigger::Token(_))));
        triggers.push(trigger);
    };
    for (index, token) in vendor::TOKENS.iter().enumerate() {
        token.keys.iter().for_each(|key| add(key, Trigger::Token(index)));
    }
    names::KEYWORDS.iter().for_each(|word| add(word, Trigger::Name));
    headers::AUTHORIZATION.iter().for_each(|word| add(word, Trigger::Authorization));
    headers::COOKIE.iter().for_each(|word| add(word, Trigger::Cookie));
    add("://", Trigger::Url);
    add("@", Trigger::AtSign);
    people::HOMES.iter().for_each(|word| add(word, Trigger::Home));
    people::PRIVATE_TOPS.iter().for_each(|word| add(word, Trigger::Host));
    private_keys::MARKERS.iter().for_each(|word| add(word, Trigger::KeyMarker));
    add(private_keys::PUTTY, Trigger::Putty);
    commands::keywords().into_iter().for_each(|word| add(word, Trigger::Command(word)));
    add("machine ", Trigger::Netrc);
    calls::keywords().enumerate().for_each(|(index, word)| add(word, Trigger::Call(index)));
    add(files::SHADOW, Trigger::Shadow);
    add(files::ACCOUNTS, Trigger::Accounts);
    files::COOKIE_LINE.iter().for_each(|word| add(word, Trigger::CookieLine));
    files::KEY_FILES.iter().for_each(|word| add(word, Trigger::KeyFile));
    add(private_keys::JWK, Trigger::Jwk);
    services::keywords().enumerate().for_each(|(index, word)| add(word, Trigger::Service(index)));
    files::PRINTED
        .iter()
        .enumerate()
        .for_each(|(index, (word, _))| add(word, Trigger::Printed(index)));
    files::RELAY.iter().for_each(|word| add(word, Trigger::Relay));
    urls::AT_ADDRESS.iter().for_each(|word| add(word, Trigger::AtAddress));
    urls::ORACLE.iter().for_each(|word| add(word, Trigger::Oracle));
    add(private_keys::XML, Trigger::KeyXml);
    headers::KNOWN.iter().for_each(|word| add(word, Trigger::KnownCookie));
    add("insert into", Trigger::Insert);
    prose::FOREIGN.iter().for_each(|word| add(word, Trigger::Foreign));
    files::PGPASS.iter().for_each(|word| add(word, Trigger::Pgpass));
    Prefilter { keywords: Keywords::new(&words), triggers }
});

/// Finds what a policy asks for.
pub(super) struct Scanner {
    policy: Policy,
    team: TeamRules,
}

impl Scanner {
    pub fn new(policy: Policy) -> Result<Self> {
        let team = TeamRules::new(&policy.extra)?;
        Ok(Scanner { policy, team })
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What stands in `text`; `name` is what structure says it is the value of.
    pub fn scan(&self, text: &str, name: Option<&str>) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        if let Some(name) = name {
            self.named(name, text, &mut hits);
        }
        self.keywords(text, &mut hits);
        let numbers = [Class::Phone, Class::Ip, Class::Card, Class::Iban];
        if numbers.iter().any(|class| self.policy.searches(*class)) {
            numbers::scan(text, &mut hits);
        }
        self.team.scan(text, &mut hits)?;
        hits.retain(|hit| hit.end > hit.start && self.policy.searches(hit.rule.class));
        Ok(hits)
    }

    fn named(&self, name: &str, text: &str, hits: &mut Vec<Hit>) {
        let name = name.trim_start_matches('-');
        if name.eq_ignore_ascii_case("authorization")
            || name.eq_ignore_ascii_case("proxy-authorization")
        {
            headers::authorization_value(text, hits);
        } else if name.eq_ignore_ascii_case("cookie") || name.eq_ignore_ascii_case("set-cookie") {
            headers::pairs(text, 0, hits);
        } else {
            assignments::named(name, text, hits);
        }
    }

    fn keywords(&self, text: &str, hits: &mut Vec<Hit>) {
        let on = |class| self.policy.searches(class);
        let (mut last_name, mut last_token) = (0, 0);
        PREFILTER.keywords.each(text, |start, end, index| match PREFILTER.triggers[index] {
            Trigger::Token(index) => {
                if on(vendor::TOKENS[index].class) {
                    vendor::scan(index, text, start, &mut last_token, hits);
                }
            }
            Trigger::Name => {
                if on(Class::Assignment) {
                    assignments::around(text, start, end, &mut last_name, hits);
                }
            }
            Trigger::Authorization => headers::authorization(text, start, end, hits),
            Trigger::Cookie => headers::cookie(text, end, hits),
            Trigger::Url => {
                if on(Class::Url) {
                    urls::authority(text, end, hits);
                }
            }
            Trigger::AtSign => {
                people::at_sign(text, start, on(Class::Email), on(Class::User), hits);
            }
            Trigger::Home => people::home(text, start, end, hits),
            Trigger::Host => people::host(text, start, end, hits),
            Trigger::KeyMarker => private_keys::marker(text, start, end, hits),
            Trigger::Putty => private_keys::putty(text, end, hits),
            Trigger::Command(word) => commands::command(text, word, start, end, hits),
            Trigger::Netrc => files::netrc(text, end, hits),
            Trigger::Pgpass => files::pgpass(text, start, hits),
            Trigger::Call(index) => calls::call(index, text, end, hits),
            Trigger::Shadow => files::shadow(text, start, hits),
            Trigger::Accounts => files::accounts(text, start, hits),
            Trigger::CookieLine => files::cookie_line(text, end, hits),
            Trigger::KeyFile => files::key_file(text, end, hits),
            Trigger::Jwk => private_keys::jwk(text, start, hits),
            Trigger::Service(index) => services::service(index, text, end, hits),
            Trigger::Printed(index) => files::printed(index, text, start, hits),
            Trigger::Relay => files::relay(text, end, hits),
            Trigger::AtAddress => urls::at_address(text, start, hits),
            Trigger::Oracle => urls::oracle(text, end, hits),
            Trigger::KeyXml => private_keys::xml(text, end, hits),
            Trigger::KnownCookie => headers::known(text, end, hits),
            Trigger::Insert => calls::insert(text, end, hits),
            Trigger::Foreign => prose::foreign(text, end, hits),
        });
    }
}
