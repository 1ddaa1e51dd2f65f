//! Files that keep credentials, and stored hashes of passwords.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::values::{fill, hex, password, shape, value, word, words};

const FILES: &[&str] = &[
    // npmrc, yarnrc
    "//registry.~d~/:_authToken={}",
    "//registry.npmjs.org/:_authToken={}\nregistry=https://registry.npmjs.org/",
    "registry=https://npm.~d~/\n_auth=BASIC\nalways-auth=true",
    "//npm.~d~/:_password={}",
    "//npm.~d~/:username=~w~\n//npm.~d~/:_password=\"{}\"",
    "npmRegistries:\n  \"https://npm.~d~\":\n    npmAuthToken: {}",
    "npmAuthToken: \"{}\"",
    "npmAuthIdent: ~w~:{}",
    // netrc
    "machine git.~d~ login ~w~ password {}",
    "machine api.~d~\n  login ~w~\n  password {}",
    "machine api.~d~\n\tlogin ~w~\n\tpassword {}\nmachine b.~d~",
    "default login ~w~ password {}",
    "machine heroku.com login x account y password {}",
    // pypirc, pip, poetry
    "[pypi]\nusername = __token__\npassword = {}",
    "[distutils]\nindex-servers =\n    ~w~\n[~w~]\nrepository = https://pypi.~d~\nusername: ~w~\npassword: {}",
    "[http-basic.~w~]\nusername = \"~w~\"\npassword = \"{}\"",
    // pgpass, my.cnf
    "db.~d~:5432:shop:app:{}",
    "localhost:5432:*:postgres:{}",
    "*:*:*:app:{}",
    "10.0.0.4:5432:shop:app:{}\n",
    "[client]\nuser=root\npassword={}",
    "[mysqldump]\nuser = root\npassword = \"{}\"",
    "[client]\nuser=root\npassword = {}\nhost=localhost",
    // kubeconfig
    "users:\n- name: admin\n  user:\n    token: {}",
    "  user:\n    client-key-data: B64KEY",
    "users:\n- name: ci\n  user:\n    username: ci\n    password: {}",
    "    id-token: {}\n    refresh-token: x",
    // docker
    "{\"auths\": {\"registry.~d~\": {\"auth\": \"BASIC\"}}}",
    "{\n  \"auths\": {\n    \"https://index.docker.io/v1/\": {\n      \"auth\": \"BASIC\"\n    }\n  }\n}",
    "{\"auths\":{\"ghcr.io\":{\"username\":\"~w~\",\"password\":\"{}\",\"auth\":\"BASIC\"}}}",
    "{\"auths\":{\"x.azurecr.io\":{\"identitytoken\":\"{}\"}}}",
    ".dockerconfigjson: DOCKER",
    // cargo, gem, maven, gradle, nuget, composer, hex
    "[registry]\ntoken = \"{}\"",
    "[registries.~w~]\nindex = \"https://x\"\ntoken = \"Bearer {}\"",
    "---\n:rubygems_api_key: {}",
    "BUNDLE_GEMS__~w~__COM: \"~w~:{}\"",
    "<server>\n  <id>~w~</id>\n  <username>~w~</username>\n  <password>{}</password>\n</server>",
    "mavenPassword={}",
    "signing.password={}",
    "ossrhPassword={}\nossrhUsername=~w~",
    "<add key=\"ClearTextPassword\" value=\"{}\" />",
    "{\"http-basic\": {\"repo.~d~\": {\"username\": \"~w~\", \"password\": \"{}\"}}}",
    "{\"github-oauth\": {\"github.com\": \"{}\"}}",
    // gh, hub, glab, git-credentials
    "github.com:\n    user: ~w~\n    oauth_token: {}\n    git_protocol: https",
    "github.com:\n- user: ~w~\n  oauth_token: {}\n  protocol: https",
    "hosts:\n  gitlab.com:\n    token: {}\n    api_protocol: https",
    "https://~w~:{}@git.~d~",
    "protocol=https\nhost=github.com\nusername=~w~\npassword={}",
    // others
    "[filezilla]\n<Pass encoding=\"base64\">B64PASS</Pass>",
    "[default]\nauth_url = https://x\nusername = ~w~\npassword = {}",
    "clouds:\n  ~w~:\n    auth:\n      username: ~w~\n      password: '{}'",
    "rpcuser=~w~\nrpcpassword={}",
    "[smtp]\nhost = smtp.~d~\nuser = ~w~\npasswd = {}",
    "account default\nhost smtp.~d~\nuser ~w~\npassword {}",
    "set smtp_pass = \"{}\"",
    "[smtp.~d~]:587 ~w~:{}",
    "username=~w~\npassword={}\ndomain=WORKGROUP",
    "network={\n  ssid=\"~w~\"\n  psk=\"{}\"\n}",
    "ansible_become_password={}",
    "web1 ansible_host=10.0.0.3 ansible_user=root ansible_ssh_pass={}",
    "[credential]\nhelper = store\npassword = {}",
    "credentials \"app.terraform.io\" {\n  token = \"{}\"\n}",
    "define('DB_PASSWORD', '{}');\ndefine('AUTH_KEY', 'put your unique phrase here');",
    "production:\n  adapter: postgresql\n  username: app\n  password: {}",
    "kaggle.json\n{\"username\":\"~w~\",\"key\":\"HEX32\"}",
    "{\"token\": \"{}\", \"endpoint\": \"https://x\"}",
    "sonar.login={}",
    "<secret>{AQAAABAAAAAw{}}</secret>",
    "proxy = http://~w~:{}@proxy:3128",
    "<SecureString Name=\"x\" password=\"{}\"/>",
    "\"claudeAiOauth\":{\"accessToken\":\"{}\",\"expiresAt\":1720000000000}",
    "{\"OPENAI_API_KEY\": null, \"tokens\": {\"refresh_token\": \"{}\"}}",
];

pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let template = FILES[index % FILES.len()];
    let value = loop {
        let value = value(chance, template);
        // A colon would end the field, a leading `$` would be a variable.
        if !value.contains([':', '$']) {
            break value;
        }
    };
    let user = word(chance);
    let pass = password(chance);
    let basic = STANDARD.encode(format!("{user}:{pass}"));
    let mut secrets = Vec::new();
    let mut text = words(chance, template);
    let mut put = |text: &mut String, place: &str, with: &str, secrets_of: &[&str]| {
        if text.contains(place) {
            *text = text.replace(place, with);
            secrets.extend(secrets_of.iter().map(|s| s.to_string()));
        }
    };
    let key = STANDARD.encode(super::keys::pem(chance, "RSA PRIVATE KEY", 300).text());
    put(&mut text, "B64KEY", &key, &[&key]);
    let docker = format!("{{\"auths\":{{\"ghcr.io\":{{\"auth\":\"{basic}\"}}}}}}");
    let docker = STANDARD.encode(docker);
    put(&mut text, "DOCKER", &docker, &[&basic]);
    put(&mut text, "BASIC", &basic, &[&basic, &pass]);
    let encoded = STANDARD.encode(&pass);
    put(&mut text, "B64PASS", &encoded, &[&pass]);
    let digits = hex(chance, 32);
    put(&mut text, "HEX32", &digits, &[&digits]);
    put(&mut text, "{}", &value, &[&value]);
    let all: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let sample = Sample::new(template, text.clone(), &all);
    if template.contains("docker") || template.contains("B64") || template.contains("BASIC") {
        return sample.loose();
    }
    sample
}

const ALIKE: &[&str] = &[
    "//registry.npmjs.org/:_authToken=${NPM_TOKEN}",
    "registry=https://registry.npmjs.org/",
    "@northquay:registry=https://npm.pkg.github.com",
    "save-exact=true\nengine-strict=true",
    "always-auth=true",
    "machine api.example.com login USER password PASSWORD",
    "machine learning models login required",
    "The machine has a password policy",
    "[pypi]\nusername = __token__",
    "[distutils]\nindex-servers =\n    pypi\n    testpypi",
    "password = <pypi-token>",
    "localhost:5432:shop:app:<password>",
    "hostname:port:database:username:password",
    "localhost:5432",
    "10:24:31:112 INFO ready",
    "src/main.rs:10:24: error: unused",
    "a:b:c:d",
    "00:1A:2B:3C:4D:5E",
    "users:\n- name: admin\n  user:\n    exec:\n      command: aws",
    "apiVersion: v1\nkind: Config\ncurrent-context: ~w~",
    "certificate-authority-data: CERT64",
    "client-certificate-data: CERT64",
    "client-key: /etc/kubernetes/pki/~w~.key",
    "{\"auths\": {\"registry.example.com\": {}}, \"credsStore\": \"desktop\"}",
    "{\"credHelpers\": {\"gcr.io\": \"gcloud\"}}",
    "\"credsStore\": \"osxkeychain\"",
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: ~w~\ntype: Opaque",
    "kind: ConfigMap\ndata:\n  LOG_LEVEL: debug",
    "[registry]\ndefault = \"crates-io\"",
    "[registries.~w~]\nindex = \"sparse+https://x\"",
    "[source.crates-io]\nreplace-with = \"vendored-sources\"",
    "[credential]\n\thelper = osxkeychain",
    "[user]\n\tname = Jane\n\tsigningkey = HEX16",
    "<server>\n  <id>~w~</id>\n  <password>${env.MAVEN_PASSWORD}</password>\n</server>",
    "[client]\nuser=root\nsocket=/tmp/mysql.sock",
    "[client]\nuser=root\npassword=",
    "github.com:\n    user: ~w~\n    git_protocol: https",
    "helper = !gh auth git-credential",
    "credentials \"app.terraform.io\" {\n  token = var.token\n}",
    "production:\n  adapter: postgresql\n  password: <%= ENV['DB_PASSWORD'] %>",
    "define('DB_PASSWORD', 'password_here');",
    "define('AUTH_KEY', 'put your unique phrase here');",
    "define('DB_NAME', 'shop');",
    "network={\n  ssid=\"~w~\"\n  key_mgmt=NONE\n}",
    "ansible_become_method=sudo",
    "ansible_ssh_private_key_file=~/.ssh/~w~",
    "go.sum: github.com/x/y v1.0.0 h1:B64X32",
    "\"dist\": {\"shasum\": \"HEX40\", \"integrity\": \"sha512-B64X64\"}",
    "resolved \"https://registry.yarnpkg.com/a/-/a-1.0.0.tgz#HEX40\"",
    "content-hash = \"DIGEST\"",
    "PODFILE CHECKSUM: HEX40",
    "\"narHash\": \"sha256-B64X32\"",
    "  sha256 \"DIGEST\"",
    "pnpm-lock: /@babel/core@7.24.7:\n    resolution: {integrity: sha512-B64X64}",
    "\"_id\": \"~w~@1.2.3\", \"_nodeVersion\": \"20.11.0\"",
];

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let template = ALIKE[index % ALIKE.len()];
    let text = words(chance, template);
    let text = if text.contains("CERT64") {
        let certificate = super::keys::pem(chance, "CERTIFICATE", 300).text();
        text.replace("CERT64", &STANDARD.encode(certificate))
    } else {
        digests(chance, &text)
    };
    Sample::kept(template, text)
}

/// Stored hashes: where they stand, with `{}` for the hash.
const HASH_PLACES: &[&str] = &[
    "~w~:{}:19000:0:99999:7:::",
    "root:{}:19911:0:99999:7:::\ndaemon:*:19000:0:99999:7:::",
    "$ cat .htpasswd\n~w~:{}\n",
    "~w~:{}",
    "password_hash = \"{}\"",
    "INSERT INTO users VALUES (1, '~w~', '{}');",
    "{\"user\": \"~w~\", \"hash\": \"{}\"}",
    "useradd -p '{}' ~w~",
    "the hash is {}, try john",
    "userPassword: {CRYPT}{}",
    "basicauth ~w~ {}",
    "passwd: \"{}\"",
    " 1 | ~w~ | {}",
    "chpasswd -e <<< '~w~:{}'",
];

const HASHES: &[(&str, &str)] = &[
    ("sha512crypt", "$6$[A-Za-z0-9./]{16}$[A-Za-z0-9./]{86}"),
    ("sha512crypt with rounds", "$6$rounds=656000$[A-Za-z0-9./]{16}$[A-Za-z0-9./]{86}"),
    ("sha256crypt", "$5$[A-Za-z0-9./]{16}$[A-Za-z0-9./]{43}"),
    ("md5crypt", "$1$[A-Za-z0-9./]{8}$[A-Za-z0-9./]{22}"),
    ("apr1", "$apr1$[A-Za-z0-9./]{8}$[A-Za-z0-9./]{22}"),
    ("bcrypt", "$2b$12$[A-Za-z0-9./]{53}"),
    ("bcrypt of htpasswd", "$2y$05$[A-Za-z0-9./]{53}"),
    ("bcrypt old", "$2a$10$[A-Za-z0-9./]{53}"),
    ("yescrypt", "$y$j9T$[A-Za-z0-9./]{22}$[A-Za-z0-9./]{43}"),
    ("gost yescrypt", "$gy$j9T$[A-Za-z0-9./]{22}$[A-Za-z0-9./]{43}"),
    ("scrypt", "$7$CU..../....[A-Za-z0-9./]{22}$[A-Za-z0-9./]{43}"),
    ("argon2id", "$argon2id$v=19$m=65536,t=3,p=4$[A-Za-z0-9+/]{22}$[A-Za-z0-9+/]{43}"),
    ("argon2i", "$argon2i$v=19$m=4096,t=3,p=1$[A-Za-z0-9+/]{22}$[A-Za-z0-9+/]{43}"),
    ("django", "pbkdf2_sha256$600000$[A-Za-z0-9]{22}$[A-Za-z0-9+/]{43}="),
    ("passlib", "$pbkdf2-sha256$29000$[A-Za-z0-9./]{22}$[A-Za-z0-9./]{43}"),
    ("werkzeug", "scrypt:32768:8:1$[A-Za-z0-9]{16}$[a-f0-9]{128}"),
    ("werkzeug pbkdf2", "pbkdf2:sha256:600000$[A-Za-z0-9]{16}$[a-f0-9]{64}"),
    ("ssha", "\\{SSHA}[A-Za-z0-9+/]{32}"),
    ("sha of htpasswd", "\\{SHA}[A-Za-z0-9+/]{27}="),
    ("phpass", "$P$B[A-Za-z0-9./]{30}"),
    ("mysql", "*[A-F0-9]{40}"),
    (
        "postgres scram",
        "SCRAM-SHA-256$4096:[A-Za-z0-9+/]{22}==$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=",
    ),
    ("postgres md5", "md5[a-f0-9]{32}"),
    ("ntlm dump", "aad3b435b51404eeaad3b435b51404ee:[a-f0-9]{32}"),
    ("grub", "grub.pbkdf2.sha512.10000.[A-F0-9]{128}.[A-F0-9]{128}"),
    ("cisco", "$9$[A-Za-z0-9./]{14}$[A-Za-z0-9./]{43}"),
    ("macos", "$ml$45662$[a-f0-9]{64}$[a-f0-9]{128}"),
];

pub fn hash(chance: &mut Chance, index: usize) -> Sample {
    let (name, pattern) = HASHES[index % HASHES.len()];
    let value = shape(chance, pattern);
    let text = match name {
        "mysql" => format!("IDENTIFIED BY PASSWORD '{value}'"),
        "postgres md5" => format!("CREATE ROLE app PASSWORD '{value}';"),
        "postgres scram" => format!("ALTER ROLE app WITH PASSWORD '{value}';"),
        "ntlm dump" => format!("Administrator:500:{value}:::"),
        "grub" => format!("password_pbkdf2 root {value}"),
        "cisco" => format!("enable secret 9 {value}"),
        _ => {
            let place = HASH_PLACES[chance.below(HASH_PLACES.len())];
            fill(chance, place, &value)
        }
    };
    Sample::new(name, text, &[&value]).loose()
}

const HASHES_ALIKE: &[&str] = &[
    "root:x:0:0:root:/root:/bin/bash",
    "daemon:*:19000:0:99999:7:::",
    "nobody:!:19000:0:99999:7:::",
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin",
    "docker:x:999:",
    "bcrypt.hashpw(password.encode(), bcrypt.gensalt(12))",
    "$2b$ is the prefix of bcrypt",
    "$6$ means SHA-512",
    "awk '{print $1, $2, $6}' access.log",
    "echo $1 $2 $3",
    "sed 's/^\\(.*\\)$/\\1/' a.txt",
    "paid $6.00 and $5.50, $1 left",
    "cost: $12,345.67",
    "UPDATE t SET a = $1, b = $2 WHERE c = $3",
    "regex: ^\\$2[aby]\\$\\d{2}\\$.{53}$",
    "pbkdf2_sha256 with 600000 iterations",
    "argon2id m=65536 t=3 p=4",
    "PASSWORD_HASHERS = [\"django.contrib.auth.hashers.Argon2PasswordHasher\"]",
    "md5sum: MD5SUM",
    "sha256sum a.tar.gz\nDIGEST  a.tar.gz",
    "hash: DIGEST",
    "\"hash\": \"MD5SUM\"",
    "content_hash=HEX40",
    "hash_ring has ~n~ nodes",
    "git hash-object a.txt\nSHA",
    "$RAND6 is not set",
    "const $el = $('#id');",
    "$scope.$apply(function () {})",
    "jQuery.fn.$6 = null",
    "${a}${b}${c}",
    "PS1='\\u@\\h:\\w\\$ '",
    "MODULAR_CRYPT = re.compile(r\"\\$(\\w+)\\$\")",
    "blake3: DIGEST",
    "crc32c=RAND6==",
    "SHA512SUM  disk.img",
    "bin:*:20228:0:99999:7:::",
];

pub fn hash_alike(chance: &mut Chance, index: usize) -> Sample {
    let template = HASHES_ALIKE[index % HASHES_ALIKE.len()];
    let text = words(chance, template);
    Sample::kept(template, digests(chance, &text))
}
