//! The modules that come with the program: Rhai sources embedded from `stdlib/`.

/// Every embedded module: the name scripts import and its source.
pub const MODULES: &[(&str, &str)] = &[
    ("proto/gates", include_str!("../../stdlib/gates.rhai")),
    ("proto/generators", include_str!("../../stdlib/generators.rhai")),
    ("proto/invented", include_str!("../../stdlib/invented.rhai")),
    ("proto/invented_sample", include_str!("../../stdlib/invented_sample.rhai")),
    ("proto/quality", include_str!("../../stdlib/quality.rhai")),
];

/// What the names of embedded modules begin with; nothing on disk is ever looked up under it.
pub const PREFIX: &str = "proto/";

/// The source of an embedded module.
pub fn source(name: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
        let mut on_disk: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| format!("{PREFIX}{}", path.file_stem().unwrap().to_str().unwrap()))
            .collect();
        on_disk.sort();
        let mut embedded: Vec<_> = MODULES.iter().map(|(name, _)| name.to_string()).collect();
        embedded.sort();
        assert_eq!(on_disk, embedded);
    }
}
