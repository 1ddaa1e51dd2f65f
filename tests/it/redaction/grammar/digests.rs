//! Random values that are no secrets: digests, ids, pictures.

use proto::chance::Chance;

use super::values::{hex, random, shape, uuid};

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
        ("HEX10", "[0-9a-f]{10}"),
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
