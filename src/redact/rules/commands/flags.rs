//! Which flag of which command takes a password, and how.

/// How the password follows its flag.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// In the next word.
    Next,
    /// In the same word.
    Attached,
    /// In the next word, the flag being the last of several in one word: `-rP`.
    Cluster,
    /// `user:password` in the next word, or in the same one.
    Pair(u8),
    /// Cookies in the next word.
    Cookies,
    /// The word at this place among those that are no flags.
    Place(usize),
    /// The last word that is no flag, where a word of flags has the flag's letter.
    Last,
    /// `user/password@database`.
    Slash,
    /// `domain/user:password@host`.
    Target,
}
use Form::{Attached, Cluster, Cookies, Last, Next, Pair, Place, Slash, Target};

/// A command, the flag, and how the password follows it.
#[rustfmt::skip]
pub const FLAGS: &[(&str, &str, Form)] = &[
    // Databases
    ("mysql", "-p", Attached), ("mysqldump", "-p", Attached), ("mysqlimport", "-p", Attached),
    ("mysqladmin", "-p", Attached), ("mariadb", "-p", Attached), ("mariadb-dump", "-p", Attached),
    ("mysqlshow", "-p", Attached), ("mycli", "-p", Attached),
    ("mongo", "-p", Next), ("mongosh", "-p", Next), ("mongodump", "-p", Next),
    ("mongorestore", "-p", Next), ("mongoexport", "-p", Next), ("mongoimport", "-p", Next),
    ("redis-cli", "-a", Next), ("redis-cli", "--pass", Next), ("redis-benchmark", "-a", Next),
    ("sqlcmd", "-P", Next), ("sqlcmd", "-P", Attached), ("bcp", "-P", Next), ("osql", "-P", Next),
    ("isql", "-P", Next), ("tsql", "-P", Next), ("cqlsh", "-p", Next), ("influx", "-password", Next),
    ("clickhouse-client", "--password", Next), ("beeline", "-p", Next), ("snowsql", "-p", Next),
    ("sqlplus", "", Slash), ("expdp", "", Slash), ("impdp", "", Slash), ("sqlldr", "", Slash),
    ("exp", "", Slash), ("imp", "", Slash), ("rman target", "", Slash), ("sqlcl", "", Slash),
    ("neo4j-admin set-initial-password", "", Place(0)), ("cypher-shell", "-p", Next),
    ("pg_restore", "-W", Attached), ("couchbase-cli", "-p", Next), ("arangosh", "-p", Next),
    // Remote logins, shares and directories
    ("sshpass", "-p", Next), ("sshpass", "-p", Attached), ("plink", "-pw", Next),
    ("pscp", "-pw", Next), ("psftp", "-pw", Next), ("putty", "-pw", Next), ("xfreerdp", "/p:", Attached),
    ("wlfreerdp", "/p:", Attached), ("rdesktop", "-p", Next), ("smbclient", "-U", Pair(b'%')),
    ("smbmap", "-p", Next), ("smbget", "-U", Pair(b'%')), ("rpcclient", "-U", Pair(b'%')),
    ("net rpc", "-U", Pair(b'%')), ("net ads", "-U", Pair(b'%')), ("wmic", "-U", Pair(b'%')),
    ("lftp", "-u", Pair(b',')), ("ncftp", "-p", Next), ("ldapsearch", "-w", Next),
    ("ldapadd", "-w", Next), ("ldapmodify", "-w", Next), ("ldapdelete", "-w", Next),
    ("ldapwhoami", "-w", Next), ("ldappasswd", "-w", Next), ("ldappasswd", "-s", Next),
    ("evil-winrm", "-p", Next), ("crackmapexec", "-p", Next), ("netexec", "-p", Next),
    ("nxc", "-p", Next), ("hydra", "-p", Next), ("medusa", "-p", Next), ("kerbrute", "-p", Next),
    ("psexec", "-p", Next), ("winrs", "-p:", Attached), ("cmdkey", "/pass:", Attached),
    ("schtasks", "/rp", Next), ("schtasks", "/p", Next), ("net user", "", Place(1)),
    ("ipmitool", "-P", Next), ("snmpwalk", "-A", Next), ("snmpwalk", "-X", Next),
    ("snmpget", "-A", Next), ("snmpget", "-X", Next), ("vncviewer", "-passwd", Next),
    ("wpa_passphrase", "", Place(1)), ("useradd", "-p", Next), ("usermod", "-p", Next),
    ("vault token lookup", "", Place(0)), ("vault token renew", "", Place(0)), ("vault token revoke", "", Place(0)),
    ("vault unwrap", "", Place(0)), ("vault token capabilities", "", Place(0)),
    ("impacket-psexec", "-p", Next), ("impacket-psexec", "", Target), ("impacket-smbexec", "", Target),
    ("impacket-wmiexec", "", Target), ("impacket-secretsdump", "", Target), ("secretsdump.py", "", Target),
    ("psexec.py", "", Target), ("wmiexec.py", "", Target), ("smbexec.py", "", Target),
    ("impacket-mssqlclient", "", Target), ("mssqlclient.py", "", Target),
    // HTTP
    ("curl", "-u", Pair(b':')), ("curl", "--user", Pair(b':')), ("curl", "-U", Pair(b':')),
    ("curl", "--proxy-user", Pair(b':')), ("curl", "-b", Cookies), ("curl", "--cookie", Cookies),
    ("curl", "--oauth2-bearer", Next), ("curl", "--pass", Next), ("curl", "-E", Pair(b':')),
    ("wget", "--http-password", Next), ("http ", "-a", Pair(b':')), ("https ", "-a", Pair(b':')),
    ("http ", "--auth", Pair(b':')), ("xh", "-a", Pair(b':')), ("ab", "-A", Pair(b':')),
    ("siege", "-A", Pair(b':')), ("jenkins-cli", "-auth", Pair(b':')),
    ("jenkins-cli.jar", "-auth", Pair(b':')),
    // Registries, clouds and deployments
    ("docker login", "-p", Next), ("podman login", "-p", Next), ("buildah login", "-p", Next),
    ("nerdctl login", "-p", Next), ("crane auth login", "-p", Next), ("skopeo login", "-p", Next),
    ("oras login", "-p", Next), ("helm registry login", "-p", Next), ("az login", "-p", Next),
    ("az acr login", "-p", Next), ("oc login", "-p", Next), ("cf login", "-p", Next),
    ("cf auth", "", Place(1)), ("doctl auth init", "-t", Next), ("vault login", "", Place(0)),
    ("twine upload", "-p", Next), ("poetry publish", "-p", Next), ("poetry config", "", Place(2)),
    ("uv publish", "-p", Next), ("flit publish", "--password", Next), ("cargo login", "", Place(0)),
    ("nuget push", "-k", Next), ("nuget push", "-ApiKey", Next), ("snyk auth", "", Place(0)),
    ("codecov", "-t", Next), ("mc alias set", "", Place(3)), ("mc config host add", "", Place(3)),
    ("cloudflared service install", "", Place(0)), ("cloudflared tunnel run", "--token", Next),
    ("ngrok authtoken", "", Place(0)), ("gh secret set", "--body", Next), ("gh secret set", "-b", Next),
    ("gh secret set", "-b", Attached), ("rclone config create", "pass", Next), ("argocd login", "--password", Next),
    ("rclone obscure", "", Place(0)), ("npm-cli-login", "-p", Next), ("circleci setup", "--token", Next),
    ("sentry-cli", "--auth-token", Next), ("rabbitmqctl add_user", "", Place(1)),
    ("rabbitmqctl change_password", "", Place(1)), ("rabbitmqadmin", "-p", Next),
    ("mosquitto_pub", "-P", Next), ("mosquitto_sub", "-P", Next), ("mosquitto_passwd", "-b", Last),
    ("kinit", "--password", Next), ("wrangler secret put", "", Place(1)), ("tailscale up", "--authkey", Next),
    ("databricks configure", "--token", Next), ("datadog-ci", "--api-key", Next), ("svn", "--password", Next),
    // Keys and archives
    ("keytool", "-storepass", Next), ("keytool", "-keypass", Next), ("keytool", "-srcstorepass", Next),
    ("keytool", "-deststorepass", Next), ("jarsigner", "-storepass", Next), ("jarsigner", "-keypass", Next),
    ("ssh-keygen", "-N", Next), ("ssh-keygen", "-P", Next), ("openssl enc", "-k", Next),
    ("openssl enc", "-K", Next), ("openssl pkcs12", "-password", Next), ("zip", "-P", Cluster),
    ("unzip", "-P", Cluster), ("7z", "-p", Attached), ("7za", "-p", Attached), ("7zz", "-p", Attached),
    ("7zr", "-p", Attached), ("rar", "-hp", Attached), ("rar", "-p", Attached), ("unrar", "-p", Attached),
    ("certutil", "-p", Next), ("signtool", "/p", Next), ("security unlock-keychain", "-p", Next),
    ("security add-generic-password", "-w", Next), ("security import", "-P", Next),
    ("security create-keychain", "-p", Next), ("ansible-vault", "--vault-password", Next),
    ("htpasswd", "b", Last), ("bw unlock", "", Place(0)), ("bw login", "", Place(1)),
    ("qpdf --encrypt", "", Place(0)), ("pdftk", "input_pw", Next), ("pdftk", "user_pw", Next),
    ("pdftk", "owner_pw", Next), ("gpg-preset-passphrase", "-P", Next), ("cryptsetup", "", Place(9)),
];
