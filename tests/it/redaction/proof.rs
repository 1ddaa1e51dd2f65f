//! Policies, canaries and the second scan.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use proto::redact::{Class, Policy, Proof, Redactor, TeamRule, canaries, second};
use proto::trace::{Message, Role, Trace};
use serde_json::json;

use super::{KEPT, corpus, plain_rows, random, redactor, trace};

fn secrets() -> BTreeSet<Class> {
    Class::BUILT_IN.into_iter().filter(|c| !c.is_personal()).collect()
}

#[test]
fn the_configuration_gives_the_policy() {
    use proto::config::Layers;
    let policy = |setting: &str| {
        let mut layers = Layers::new();
        layers.command_line(setting).unwrap();
        Policy::from_config(&layers.resolve(&[]).unwrap())
    };
    let default = policy("SEED=1").unwrap();
    assert!(default.classes.len() == Class::BUILT_IN.len() + 1 && default.max_share == 0.5);
    let pii = policy("REDACT_CLASSES=pii,-host,jwt").unwrap();
    assert!(pii.covers(Class::Email) && pii.covers(Class::Jwt));
    assert!(!pii.covers(Class::Host) && !pii.covers(Class::Vendor));
    let drops = policy("REDACT_DROP_MESSAGE=private_key").unwrap();
    assert_eq!(drops.drop_message, BTreeSet::from([Class::PrivateKey]));
    assert_eq!(policy("REDACT_DROP_SESSION=pii").unwrap().drop_session.len(), 7);
    assert_eq!(policy("REDACT_ALLOW=a@acme.com, b").unwrap().allow, ["a@acme.com", "b"]);
    assert_eq!(policy("REDACT_MAX_SHARE=0.2").unwrap().max_share, 0.2);
    for key in ["REDACT_CLASSES", "REDACT_DROP_MESSAGE", "REDACT_DROP_SESSION"] {
        let error = policy(&format!("{key}=secrets,pi")).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("command line"), "{error}");
        assert!(error.contains("private_key"), "{error}");
    }
}

#[test]
fn policies_choose_what_is_redacted() {
    let text = "a.b@acme.com DB_PASSWORD=hunter2x";
    let with = |policy: Policy| Redactor::new(policy).unwrap().text(text).unwrap();
    let secrets = with(Policy { classes: secrets(), ..Policy::default() });
    assert_eq!(secrets, "a.b@acme.com DB_PASSWORD=<SECRET_PASSWORD_1>");
    let pii = with(Policy { classes: BTreeSet::from([Class::Email]), ..Policy::default() });
    assert_eq!(pii, "<EMAIL_1> DB_PASSWORD=hunter2x");
    let allowed = with(Policy { allow: vec!["a.b@acme.com".into()], ..Policy::default() });
    assert_eq!(allowed, "a.b@acme.com DB_PASSWORD=<SECRET_PASSWORD_1>");
    let without = BTreeSet::from([Class::Assignment]);
    assert_eq!(with(Policy { without, ..Policy::default() }), "<EMAIL_1> DB_PASSWORD=hunter2x");
    let strict = Redactor::new(Policy { max_share: 0.1, ..Policy::default() }).unwrap();
    let row = trace(vec![Message::text(Role::User, format!("{text} and so on and on"))]);
    let redacted = strict.session(&[&row]).unwrap().pop().unwrap();
    assert!(strict.too_much(&redacted) && !redactor().too_much(&redacted));
}

#[test]
fn a_teams_own_rule_is_used_or_refused_by_name() {
    let rule = |pattern: &str| TeamRule::pattern("ticket", pattern);
    let with =
        |pattern: &str| Redactor::new(Policy { extra: vec![rule(pattern)], ..Policy::default() });
    let redactor = with(r"(?<=ticket )(ACME-\d+)(?!\d)").unwrap();
    let out = redactor.text("see ticket ACME-1234, not ACME-99").unwrap();
    assert_eq!(out, "see ticket <SECRET_TEAM_TICKET_1>, not ACME-99");
    assert_eq!(redactor.text(&out).unwrap(), out);
    let error = with("(unclosed").err().unwrap().to_string();
    assert!(error.contains("`ticket`"), "{error}");
    let secret = "a".repeat(60);
    let error = with(r"(a+)+\1$").unwrap().text(&format!("{secret}!")).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("`ticket`") && !error.contains(&secret[..20]), "{error}");
    let bad = TeamRule::pattern("-", "x");
    let error = Redactor::new(Policy { extra: vec![bad], ..Policy::default() }).err().unwrap();
    assert!(error.to_string().contains("begin with a letter"), "{error}");
}

#[test]
fn canaries_of_every_class_are_found_and_never_kept() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let redactor = redactor();
    for seed in 0..4 {
        let recall = canaries(&redactor, &rows, seed).unwrap();
        assert_eq!(recall.by_class.len(), Class::BUILT_IN.len());
        for (class, recall) in &recall.by_class {
            assert_eq!(recall.planted, rows.len() as u64);
            assert_eq!(recall.found, recall.planted, "seed {seed}: {class}");
        }
        assert!(recall.decoys.len() >= 8);
        for (decoy, kept) in &recall.decoys {
            assert_eq!(kept.planted, rows.len() as u64);
            assert_eq!(kept.found, 0, "seed {seed}: {decoy} is taken for something else");
        }
        assert_eq!(recall, canaries(&redactor, &rows, seed).unwrap());
    }
}

#[test]
fn the_proof_fails_when_any_class_is_switched_off() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let mut whole = Proof::default();
    whole.canaries(canaries(&redactor(), &rows, 3).unwrap());
    assert!(!whole.holds(1.0, 0), "no row was read yet");
    assert!(whole.row(redactor().policy(), "{\"content\":\"fine\"}"));
    assert!(whole.holds(1.0, 0));
    assert!(!Proof::default().holds(0.0, 0));
    for class in Class::BUILT_IN {
        let policy = Policy { without: BTreeSet::from([class]), ..Policy::default() };
        let crippled = Redactor::new(policy).unwrap();
        let mut proof = Proof::default();
        proof.row(crippled.policy(), "{}");
        proof.canaries(canaries(&crippled, &rows, 3).unwrap());
        assert!(!proof.holds(1.0, 0), "{class:?} is not missed");
        assert!(proof.by_class[class.as_str()].share() < 0.8, "{class:?}: {:?}", proof.by_class);
        let others = proof.by_class.iter().filter(|(name, _)| *name != class.as_str());
        for (name, recall) in others {
            assert_eq!(recall.share(), 1.0, "without {class:?}, {name} suffers");
        }
    }
}

#[test]
fn decoys_that_a_rule_takes_are_counted() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let hungry = TeamRule::pattern("hungry", "[0-9a-f]{40}");
    let redactor = Redactor::new(Policy { extra: vec![hungry], ..Policy::default() }).unwrap();
    let mut proof = Proof::default();
    proof.canaries(canaries(&redactor, &rows, 5).unwrap());
    assert_eq!(proof.decoys["commit"].found, rows.len() as u64);
    assert_eq!(proof.decoys["version"].found, 0);
    assert!(proof.over_redaction() > 0.1 && proof.over_redaction() < 0.4);
}

#[test]
fn a_policy_without_personal_data_is_proven_for_secrets() {
    let rows = plain_rows();
    let rows: Vec<&Trace> = rows.iter().collect();
    let redactor = Redactor::new(Policy { classes: secrets(), ..Policy::default() }).unwrap();
    let recall = canaries(&redactor, &rows, 1).unwrap().by_class;
    assert!(recall.contains_key("vendor") && !recall.contains_key("email"));
    let mut proof = Proof::default();
    assert!(proof.row(redactor.policy(), "mail a.b@acme.com"));
    assert!(!proof.row(redactor.policy(), "postgres://a:Xk92ksd8Qm1@db.acme.com/x"));
    assert_eq!(proof.residue_rows, 1);
    assert_eq!(proof.residue["url_password"], 1);
}

#[test]
fn the_second_scan_finds_what_the_first_was_not_asked_for_and_nothing_else() {
    let mut chance = Chance::new(29, "second");
    let redactor = redactor();
    let mut raw_found = BTreeSet::new();
    for _ in 0..5 {
        for (text, _) in corpus(&mut chance) {
            let row = trace(vec![Message::text(Role::User, text)]);
            let before = serde_json::to_string(&row).unwrap();
            raw_found.extend(second::scan(&before).into_iter().map(|f| f.class.as_str()));
            let after = redactor.session(&[&row]).unwrap().pop().unwrap();
            let after = serde_json::to_string(&after.trace).unwrap();
            let left = second::scan(&after);
            assert!(left.is_empty(), "{before}\n-> {after}\n{left:?}");
        }
    }
    for class in
        ["url_password", "header", "assignment", "email", "phone", "ip", "card", "iban", "user"]
    {
        assert!(raw_found.contains(class), "{class} is never found: {raw_found:?}");
    }
    for text in KEPT {
        let row = trace(vec![Message::text(Role::Assistant, *text)]);
        let written = serde_json::to_string(&row).unwrap();
        assert!(second::scan(&written).is_empty(), "{text}: {:?}", second::scan(&written));
    }
}

#[test]
fn the_second_scan_knows_keys_and_tokens_and_looks_through_encodings() {
    let mut chance = Chance::new(31, "second tokens");
    let token = format!("ghp_{}", random(&mut chance, 36));
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n", random(&mut chance, 64));
    for (text, class) in [(&token, "token"), (&key, "private_key")] {
        let nested = json!({"a": json!({"b": text}).to_string()}).to_string();
        for written in [text.clone(), nested, STANDARD.encode(format!("see {text} here"))] {
            let found = second::scan(&written);
            assert!(found.iter().any(|f| f.class.as_str() == class), "{written}: {found:?}");
            assert!(found.iter().all(|f| written.get(f.start..f.end).is_some()));
        }
    }
}

#[test]
fn nothing_that_can_be_printed_shows_a_value() {
    let policy = Policy { allow: vec!["my-allowed-value".into()], ..Policy::default() };
    assert!(!format!("{policy:?}").contains("my-allowed-value"));
    let found = second::scan("DB=1\npostgres://a:Xk92ksd8Qm1@db.acme.com/x");
    assert!(!found.is_empty() && !format!("{found:?}").contains("Xk92"));
}
