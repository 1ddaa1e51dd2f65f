use std::fs;

use super::*;
use crate::progress::Silent;
use crate::redact::{Policy, Redactor};
use crate::trace::load;

const KEY: &str = "ghp_x7Kq2mZ9vB4nW8rT1yU5oP3sD6fG0hJ2kL4a";

/// A folder with two Claude Code sessions; the second is a day younger.
fn sessions(folder: &Path) {
    for (n, day) in [("aaaa", 10), ("bbbb", 11)] {
        let row = |kind: &str, id: &str, parent: &str, content: &str| {
            format!(
                "{{\"type\":\"{kind}\",\"uuid\":\"{id}\",\"parentUuid\":{parent},\"sessionId\":\
                 \"{n}\",\"timestamp\":\"2026-11-{day}T08:00:00.000Z\",\"cwd\":\"/w/shop\",\
                 \"version\":\"2.1.0\",\"isSidechain\":false,\"message\":{content}}}\n"
            )
        };
        let user = format!("{{\"role\":\"user\",\"content\":\"My token is {KEY}, day {day}\"}}");
        let answer = format!(
            "{{\"role\":\"assistant\",\"id\":\"m{n}\",\"model\":\"m-1\",\"stop_reason\":\
             \"end_turn\",\"content\":[{{\"type\":\"text\",\"text\":\"Done on day {day}.\"}}]}}"
        );
        let text = row("user", "u1", "null", &user) + &*row("assistant", "a1", "\"u1\"", &answer);
        fs::write(folder.join(format!("{n}.jsonl")), text).unwrap();
    }
}

struct World {
    folder: tempfile::TempDir,
    ledger: Ledger,
    runs: u32,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sessions")).unwrap();
        sessions(&folder.path().join("sessions"));
        World { folder, ledger: Ledger::default(), runs: 0 }
    }

    fn take(&mut self, wanted: &Wanted, raw: bool) -> (Report, PathBuf) {
        self.runs += 1;
        let out = self.folder.path().join(format!("out{}.jsonl", self.runs));
        let redactor = Redactor::new(Policy::default()).unwrap();
        let redactor = (!raw).then_some(&redactor);
        let paths = [PathBuf::from("sessions")];
        let project = self.folder.path().to_path_buf();
        let report =
            ingest(&paths, &project, wanted, redactor, &out, &mut self.ledger, &Silent).unwrap();
        (report, out)
    }
}

fn at(text: &str) -> Option<i64> {
    Some(moment(text, "2026-11-12T00:00:00Z".parse().unwrap()).unwrap())
}

#[test]
fn what_is_written_reads_back_and_holds_no_secret() {
    let mut world = World::new();
    let (report, out) = world.take(&Wanted::default(), false);
    assert_eq!((report.written, report.redacted), (2, 2));
    let text = fs::read_to_string(&out).unwrap();
    assert!(!text.contains(KEY));
    let again = load(std::slice::from_ref(&out), world.folder.path(), &Silent).unwrap();
    let names: Vec<_> = again.traces.iter().map(|t| (&*t.source, &*t.session)).collect();
    assert_eq!(names, [("claude-code", "aaaa"), ("claude-code", "bbbb")]);
    assert_eq!(again.traces[0].repository.as_deref(), Some("shop"));
    assert_eq!(again.traces[0].messages[1].author.as_deref(), Some("m-1"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (_, raw) = world.take(&Wanted::default(), true);
    assert!(fs::read_to_string(raw).unwrap().contains(KEY));
}

#[test]
fn what_is_forgotten_is_not_taken() {
    let mut world = World::new();
    let mut list = Forgotten::default();
    list.add("claude-code/aaaa", Default::default());
    let redactor = Redactor::new(Policy::default()).unwrap();
    let wanted = Wanted { forgotten: Some((list, redactor)), ..Wanted::default() };
    let (report, out) = world.take(&wanted, false);
    assert_eq!((report.written, report.left["forgotten"]), (1, 1));
    assert!(!fs::read_to_string(out).unwrap().contains("aaaa"));
}

#[test]
fn sessions_are_chosen_by_time() {
    let mut world = World::new();
    let since = Wanted { since: at("2026-11-11"), ..Wanted::default() };
    assert_eq!(world.take(&since, false).0.left["before_since"], 1);
    let until = Wanted { until: at("2026-11-11"), ..Wanted::default() };
    let (report, _) = world.take(&until, false);
    assert_eq!((report.written, report.left["after_until"]), (1, 1));
    let none = Wanted { since: at("2026-11-11"), until: at("2026-11-11"), ..Wanted::default() };
    let (report, out) = world.take(&none, false);
    assert!(report.written == 0 && !out.exists());
}

#[test]
fn nothing_is_taken_twice_until_it_grows() {
    let mut world = World::new();
    let new = |world: &World| Wanted { known: Some(world.ledger.clone()), ..Wanted::default() };
    assert_eq!(world.take(&Wanted::default(), false).0.written, 2);
    let wanted = new(&world);
    let (report, out) = world.take(&wanted, false);
    assert_eq!((report.written, report.left["known"], out.exists()), (0, 2, false));
    let file = world.folder.path().join("sessions/aaaa.jsonl");
    let grown = fs::read_to_string(&file).unwrap().replace("u1", "u2").replace("\"a1\"", "\"a2\"");
    let grown = grown.replace("null", "\"a1\"").replace("maaaa", "m2").replace("T08", "T09");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &*grown).unwrap();
    let wanted = new(&world);
    let (report, _) = world.take(&wanted, false);
    assert_eq!((report.written, report.left["known"]), (1, 1));
}

#[test]
fn the_ledger_survives_its_file_and_refuses_another() {
    let mut world = World::new();
    world.take(&Wanted::default(), false);
    let path = world.folder.path().join("ingested.json");
    world.ledger.write(&path).unwrap();
    assert_eq!(Ledger::read(&path).unwrap(), world.ledger);
    assert_eq!(Ledger::read(&path.with_file_name("none")).unwrap(), Ledger::default());
    fs::write(&path, "[]").unwrap();
    assert!(format!("{:#}", Ledger::read(&path).unwrap_err()).contains("ingested.json"));
}

#[test]
fn moments_are_read_as_people_write_them() {
    let day = 24 * 3600 * 1000;
    let midnight = at("2026-11-12").unwrap();
    for (text, wanted) in [
        ("today", midnight),
        ("yesterday", midnight - day),
        ("7d", midnight - 7 * day),
        ("36h", midnight - day - day / 2),
        ("2w", midnight - 14 * day),
        ("2026-11-11", midnight - day),
        ("2026-11-11T12:00:00Z", midnight - day / 2),
        ("2026-11-11T14:00:00+02:00", midnight - day / 2),
        ("2026-11-11T12:00", midnight - day / 2),
    ] {
        assert_eq!(at(text), Some(wanted), "{text}");
    }
    let now = "2026-11-12T00:00:00Z".parse().unwrap();
    for wrong in ["", "soon", "d", "99999999d", "2026-13-01", "-3d"] {
        assert!(moment(wrong, now).is_err(), "{wrong}");
    }
}

#[test]
fn a_folder_that_git_watches_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data/raw/a.jsonl");
    refuse_tracked(&out).unwrap();
    let git = std::process::Command::new("git").arg("init").arg("-q").arg(folder.path()).status();
    assert!(git.unwrap().success());
    let error = refuse_tracked(&out).unwrap_err().to_string();
    assert!(error.contains(".gitignore"), "{error}");
    fs::write(folder.path().join(".gitignore"), "/data/*\n").unwrap();
    refuse_tracked(&out).unwrap();
}
