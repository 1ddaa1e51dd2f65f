//! Web tokens and stored password hashes.

use super::{Token, of, token};
use crate::redact::policy::Class;

#[rustfmt::skip]
pub static TOKENS: &[Token] = &[
    of(Class::Jwt, token("jwt", "JWT", &["eyJ"], r"eyJ[A-Za-z0-9_-]{10,}\.(?:eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})")),
    of(Class::PasswordHash, token("crypt-hash", "PASSWORD_HASH", &["$1$", "$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$", "$7$", "$8$", "$9$", "$y$", "$gy$", "$apr1$", "$argon2", "$scrypt", "$P$", "$H$", "$ml$", "$pbkdf2", "$sha1$", "$md5"], r"\$(?:1|2[abxy]|5|6|7|8|9|g?y|apr1|argon2(?:id|i|d)|scrypt|P|H|ml|pbkdf2[a-z0-9-]*|sha1|md5)\$[./A-Za-z0-9=,$+_-]{20,}")),
    of(Class::PasswordHash, token("django-hash", "PASSWORD_HASH", &["pbkdf2_sha"], r"pbkdf2_sha(?:1|256|512)\$[0-9]{3,}\$[A-Za-z0-9./]{4,}\$[A-Za-z0-9+/]{20,}={0,2}")),
    of(Class::PasswordHash, token("grub-hash", "PASSWORD_HASH", &["grub.pbkdf2."], r"grub\.pbkdf2\.sha512\.[0-9]+\.[A-F0-9]{32,}\.[A-F0-9]{32,}")),
    of(Class::PasswordHash, token("werkzeug-hash", "PASSWORD_HASH", &["scrypt:", "pbkdf2:sha", "bcrypt_sha256$", "argon2$", "pbkdf2-sha"], r"(?:scrypt:[0-9]+:[0-9]+:[0-9]+\$[A-Za-z0-9]{4,}\$[a-f0-9]{32,}|pbkdf2:sha(?:1|256|512)(?::[0-9]+)?\$[A-Za-z0-9]{4,}\$[a-f0-9]{32,}|bcrypt_sha256\$\$2[aby]\$[0-9]{2}\$[A-Za-z0-9./]{53}|argon2\$argon2(?:id|i|d)\$[A-Za-z0-9=,$+/]{30,})")),
    of(Class::PasswordHash, token("ldap-hash", "PASSWORD_HASH", &["{SHA", "{SSHA", "{SMD5}", "{MD5}", "{CRYPT}"], r"\{(?:S?SHA(?:256|512)?|S?MD5|CRYPT)\}(?:[A-Za-z0-9+/$.]{16,}={0,2}|[A-Za-z0-9./]{13})")),
    of(Class::Jwt, token("paseto", "PASETO", &["v1.local.", "v2.local.", "v3.local.", "v4.local.", "v1.public.", "v2.public.", "v3.public.", "v4.public."], r"v[1-4]\.(?:local|public)\.[A-Za-z0-9_-]{40,}(?:\.[A-Za-z0-9_-]+)?")),
];
