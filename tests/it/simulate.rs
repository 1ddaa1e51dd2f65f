//! Simulated nights: the shipped policy is seldom wrong, and says so of each fixture.

use std::path::PathBuf;

use proto::gate::{Evidence, judge};
use proto::progress::Silent;
use proto::script::policy::{self, PolicySource};
use proto::simulate::fixtures::{FIXTURES, fixture};
use proto::simulate::{Characteristic, Effort, Invented, Simulation, World};

fn simulated(world: &World, files: &[PathBuf], effort: Effort) -> Characteristic {
    let ask = |evidence: &Evidence| policy::ask_all(files, evidence);
    Simulation { world, ask: &ask, effort }.run(&Silent).unwrap()
}

const NIGHT: Invented = Invented { items: 120, sessions: 40, suite: 20, right: 0.5, changed: 0.2 };

#[test]
fn the_shipped_policy_seldom_promotes_a_dud_and_sees_a_large_gain() {
    let effort = Effort { runs: 60, streams: 10, nights: 6, seed: 1 };
    let found = simulated(&World::Invented(NIGHT), &[], effort);
    let [none, .., large] = found.one_night.as_slice() else { panic!("four gains") };
    assert!(none.promoted <= 0.10, "{none:?}");
    assert!(large.promoted >= 0.3, "{large:?}");
    assert!(found.any_dud <= 0.3, "{found:?}");
    // Counted the same with any number of threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let alone = pool.install(|| simulated(&World::Invented(NIGHT), &[], effort));
    assert_eq!(alone, found);
}

#[test]
fn a_policy_that_errs_never_promotes_in_any_night() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("never.rhai");
    std::fs::write(&file, "fn policy(evidence) { throw \"no\" }").unwrap();
    let effort = Effort { runs: 10, streams: 2, nights: 2, seed: 1 };
    let found = simulated(&World::Invented(NIGHT), &[file], effort);
    assert!(found.one_night.iter().all(|r| r.promoted == 0.0), "{found:?}");
}

#[test]
fn the_shipped_policy_says_of_each_fixture_what_it_is_there_for() {
    let verdicts = FIXTURES.map(|(name, meaning)| {
        let evidence = fixture(name).unwrap();
        let asked = policy::ask(&PolicySource::shipped(), &evidence);
        let decision = judge(&evidence, vec![asked], Vec::new());
        let said = decision.verdict.as_str();
        let wanted = meaning.rsplit(' ').next().unwrap();
        assert!(wanted.starts_with(&said[..5]), "{name} is {said}: {:#?}", decision.reasons);
        said
    });
    for verdict in ["promote", "block", "inconclusive"] {
        assert!(verdicts.contains(&verdict), "no fixture for {verdict}");
    }
    assert!(fixture("god").unwrap_err().contains("did you mean `good`?"));
}
