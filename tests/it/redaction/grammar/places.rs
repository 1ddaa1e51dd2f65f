//! Names of people in paths and of machines, as far as they are plainly private.

use proto::chance::Chance;

use super::Sample;
use super::digests::digests;
use super::values::{fill, pick, shape, words};

/// A name of an account.
pub fn account(chance: &mut Chance) -> String {
    let first =
        pick(chance, &["jan", "tom", "ayl", "hen", "pri", "luc", "mor", "osk", "sof", "rav"]);
    let last = pick(
        chance,
        &[
            "kowal", "brandt", "lindq", "raman", "moreau", "casti", "nakam", "hoffm", "okaf",
            "szabo",
        ],
    );
    match chance.below(5) {
        0 => format!("{first}{last}"),
        1 => format!("{}{last}", &first[..1]),
        2 => format!("{first}.{last}"),
        3 => format!("{last}{}", 10 + chance.below(90)),
        _ => format!("{first}-{last}"),
    }
}

const USER_PLACES: &[&str] = &[
    "/home/{}/src/~w~/main.rs",
    "cd /home/{}",
    "open '/home/{}/.ssh/config'",
    "/Users/{}/Library/Caches",
    "/Users/{}/Projects/~w~",
    "File \"/Users/{}/app.py\", line 12, in <module>",
    "File \"/home/{}/.venv/lib/python3.11/site-packages/a.py\", line 3",
    "C:\\Users\\{}\\Documents\\notes.txt",
    "C:\\\\Users\\\\{}\\\\AppData\\\\Local",
    "C:/Users/{}/src",
    "/mnt/c/Users/{}/Desktop",
    "/c/Users/{}/go/bin",
    "file:///home/{}/report.html",
    "file:///Users/{}/a.html",
    "file:///C:/Users/{}/a.html",
    "~/.claude/projects/-home-{}-src-~w~",
    "-Users-{}-~w~",
    "{}@thinkpad:~/src$ ls",
    "[{}@fedora ~]$ pwd",
    "{}@macbook ~w~ % git status",
    "PATH=/home/{}/.cargo/bin:/usr/bin",
    "HOME=/home/{}",
    "HOME=/Users/{}\nSHELL=/bin/zsh",
    "USER={}\nHOME=/home/{}",
    "USERPROFILE=C:\\Users\\{}",
    "\"cwd\": \"/home/{}/~w~\"",
    "{\"cwd\":\"/Users/{}/~w~\",\"ok\":true}",
    "drwxr-xr-x  12 {}  staff   384 Jul  1 12:00 /Users/{}/src",
    "-rw-r--r-- 1 {} {} 1204 Jul  1 12:00 /home/{}/a.txt",
    "{}:x:1000:1000:Some Body,,,:/home/{}:/bin/bash",
    "vscode-remote://ssh-remote/home/{}/~w~",
    "error: could not open `/home/{}/~w~/Cargo.toml`.",
    "at Object.<anonymous> (/home/{}/~w~/index.js:10:5)",
    "--> /home/{}/~w~/src/main.rs:4:5",
    "/var/home/{}/x",
    "/export/home/{}/x",
    "rsync -a /home/{}/ backup:/srv",
    "WORKDIR /home/{}/app",
    "\\\\wsl$\\Ubuntu\\home\\{}\\src",
    "\\\\wsl.localhost\\Ubuntu\\home\\{}",
];

pub fn user(chance: &mut Chance, index: usize) -> Sample {
    let template = USER_PLACES[index % USER_PLACES.len()];
    let mut value = account(chance);
    if template.contains("-{}") {
        // Where a hyphen would end it.
        value = value.replace(['-', '.'], "");
    }
    let text = fill(chance, template, &value);
    Sample::new(template, text, &[&value]).loose()
}

const USER_ALIKE: &[&str] = &[
    "/home/user/project",
    "/home/ubuntu/app",
    "/home/runner/work/~w~/~w~",
    "/home/dev/src",
    "/home/node/app",
    "/home/vscode/.config",
    "/home/build/x",
    "/home/root/x",
    "/root/.ssh/known_hosts",
    "/Users/Shared/x",
    "/Users/runner/work",
    "C:\\Users\\Public\\Documents",
    "C:\\Users\\Default\\x",
    "/home/$USER/src",
    "/home/${USER}/src",
    "/home/<user>/src",
    "/home/{user}/src",
    "/home/%u/src",
    "/Users/<name>/Library",
    "C:\\Users\\%USERNAME%\\AppData",
    "~/src/~w~",
    "$HOME/src",
    "/usr/local/bin/~w~",
    "/var/lib/~w~/data",
    "/opt/~w~/bin",
    "/srv/~w~/releases/20240701",
    "/tmp/~w~-RAND6",
    "/api/users/~w~",
    "GET /users/settings/profile 200",
    "src/home/index.tsx",
    "app/Users/UserController.php",
    "import Home from './home/Home';",
    "home/__init__.py",
    "root@localhost:~#",
    "USER=root\nHOME=/root",
    "useradd -m app",
    "chown -R www-data:www-data /var/www",
    "drwxr-xr-x 2 root root 4096 Jul  1 12:00 src",
    "/home",
    "ls /home/",
    "/home/linuxbrew/.linuxbrew/bin/brew",
    "/workspace/~w~/src/lib.rs",
    "/github/workspace/dist",
    "/builds/~w~/~w~",
    "/nix/store/x-home-manager",
    "homepage: https://example.com/home/products",
];

pub fn user_alike(chance: &mut Chance, index: usize) -> Sample {
    let template = USER_ALIKE[index % USER_ALIKE.len()];
    let text = words(chance, template);
    Sample::kept(template, digests(chance, &text))
}

/// Machines by names that only their owners use.
const HOSTS: &[&str] = &[
    "db[0-9]{2}.kernwerk.internal",
    "ip-10-[0-9]{2}-[0-9]{2}-1[0-9]{2}.eu-central-1.compute.internal",
    "build[0-9].northquay.corp",
    "vault.blueford.corp",
    "nas[0-9]{2}.tern.lan",
    "printer.hochwerk.lan",
    "gitlab.quickware.intranet",
    "jenkins.maplelabs.local",
    "dc[0-9]{2}.silverfield.local",
    "mail.kernmont.intra",
    "wiki.tern.home.arpa",
    "k8s-node-[0-9]{2}.northquay.private",
    "ci-runner-[0-9]{2}.kernwerk.internal",
];

const HOST_PLACES: &[&str] = &[
    "ssh {}",
    "ping {}",
    "https://{}/login",
    "host: {}",
    "DB_HOST={}",
    "postgres://app@{}:5432/shop",
    "could not resolve {}.",
    "Host {}\n  User deploy",
    "curl -s http://{}:8080/health",
    "\"hostname\": \"{}\"",
    "connected to {}, ok",
    "server {}:443;",
];

pub fn host(chance: &mut Chance, index: usize) -> Sample {
    let pattern = HOSTS[index % HOSTS.len()];
    let place = pick(chance, HOST_PLACES);
    let value = shape(chance, pattern);
    let text = fill(chance, place, &value);
    Sample::new(&format!("{pattern} in {place}"), text, &[&value])
}

const HOST_ALIKE: &[&str] = &[
    "localhost:5432",
    "ping localhost",
    "example.com",
    "https://api.example.com/v1",
    "https://www.example.org/a",
    "db:5432",
    "redis:6379",
    "host.docker.internal:8080",
    "http://host.docker.internal/",
    "metadata.google.internal",
    "kubernetes.default.svc.cluster.local",
    "~w~.default.svc.cluster.local",
    "https://github.com/northquay/~w~",
    "https://docs.rs/serde/latest",
    "https://registry.npmjs.org/react",
    "crates.io",
    "pypi.org",
    "api.openai.com",
    "s3.eu-central-1.amazonaws.com",
    "storage.googleapis.com",
    "window.location.hostname",
    "os.internal.path",
    "this.internal.state",
    "sun.misc.internal",
    "com.northquay.internal.Foo",
    "jdk.internal.misc.Unsafe",
    "import internal from './internal';",
    "config.local.json",
    ".env.local",
    "settings.local.py",
    "~/.local/bin",
    "/usr/local/lib",
    "docker-compose.local.yml",
    "self.local.get()",
    "threading.local()",
    "std::thread_local!",
    "scope.corp = 1",
    "app.lan = 'de'",
    "test.invalid",
    "foo.test",
    "my-service.localhost:3000",
    "hostname -f",
    "HOSTNAME=$(hostname)",
    "intranet page layout",
    "private.key",
    "home.tsx",
];

pub fn host_alike(chance: &mut Chance, index: usize) -> Sample {
    let template = HOST_ALIKE[index % HOST_ALIKE.len()];
    Sample::kept(template, words(chance, template))
}
