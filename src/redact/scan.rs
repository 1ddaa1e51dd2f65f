//! One pass over one view of a text: keywords first, then the rules that begin at them.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use anyhow::{Result, anyhow, bail};

use super::policy::{Class, Policy, TeamRule};
use super::rules::{
    Hit, Rule, assignments, calls, commands, files, headers, names, numbers, people, private_keys,
    prose, services, urls, vendor,
};

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
    keywords: AhoCorasick,
    triggers: Vec<Trigger>,
}

static PREFILTER: LazyLock<Prefilter> = LazyLock::new(|| {
    let mut words: Vec<&str> = Vec::new();
    let mut triggers = Vec::new();
    let mut add = |word: &'static str, trigger: Trigger| {
        words.push(word);
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
    let keywords = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(&words)
        // Constants, built by the first redaction of any test.
        .expect("the built-in keywords fit an automaton");
    Prefilter { keywords, triggers }
});

/// How often a team's pattern may step back before it is refused.
const BACKTRACKS: usize = 200_000;

/// Finds what a policy asks for.
pub(super) struct Scanner {
    policy: Policy,
    team: Vec<(Rule, fancy_regex::Regex)>,
}

impl Scanner {
    pub fn new(policy: Policy) -> Result<Self> {
        let team = policy.extra.iter().map(compile).collect::<Result<_>>()?;
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
        if self.policy.pii && text.bytes().any(|b| b.is_ascii_digit()) {
            numbers::scan(text, &mut hits);
        }
        self.team_rules(text, &mut hits)?;
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
        let mut last_name = 0;
        for found in PREFILTER.keywords.find_overlapping_iter(text) {
            let (start, end) = (found.start(), found.end());
            match PREFILTER.triggers[found.pattern().as_usize()] {
                Trigger::Token(index) => {
                    if on(vendor::TOKENS[index].class) {
                        vendor::scan(index, text, start, hits);
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
            }
        }
    }

    fn team_rules(&self, text: &str, hits: &mut Vec<Hit>) -> Result<()> {
        for (rule, pattern) in &self.team {
            for found in pattern.captures_iter(text) {
                // The error may quote the pattern, never the text.
                let found = found.map_err(|e| {
                    anyhow!("redaction rule `{}`: {e}; write it with less repetition", rule.name)
                })?;
                if let Some(span) = found.get(1).or_else(|| found.get(0)) {
                    hits.push(Hit::new(span.start(), span.end(), rule));
                }
            }
        }
        Ok(())
    }
}

fn compile(team: &TeamRule) -> Result<(Rule, fancy_regex::Regex)> {
    let is_label = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if team.label.is_empty() || team.label.len() > 24 || !team.label.bytes().all(is_label) {
        bail!("redaction rule `{}`: its label must be 1 to 24 of A-Z, 0-9 and _", team.name);
    }
    let pattern = fancy_regex::RegexBuilder::new(&team.pattern)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|e| anyhow!("redaction rule `{}`: {e}", team.name))?;
    let rule = Rule {
        name: team.name.clone().into(),
        label: format!("TEAM_{}", team.label).into(),
        class: Class::Team,
    };
    Ok((rule, pattern))
}
