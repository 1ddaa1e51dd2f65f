//! Every bad file is refused, by name and by what is wrong with it.

mod cases;

#[test]
fn every_bad_file_is_refused_by_name() {
    let mut wrong = Vec::new();
    for case in cases::cases() {
        let folder = tempfile::tempdir().unwrap();
        case.make(folder.path());
        match case.open(folder.path()) {
            Ok(()) => wrong.push(format!("{} was taken", case.name)),
            Err(error) => {
                let message = format!("{error:#}");
                let named = message.contains(&folder.path().display().to_string());
                if !(message.contains(case.says) && named && message.len() < 1000) {
                    wrong.push(format!("{}: {message:.500}", case.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
