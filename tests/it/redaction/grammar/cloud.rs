//! Key pairs and credentials of clouds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::chance::Chance;
use serde_json::json;

use super::Sample;
use super::digests::digests;
use super::keys;
use super::values::{bytes, hex, pick, shape, uuid, word, words};

type Form = (&'static str, fn(&mut Chance) -> Sample);

const FORMS: &[Form] = &[
    ("aws credentials", |c| {
        pair(
            c,
            "[default]\naws_access_key_id = <id>\naws_secret_access_key = <secret>\nregion = eu-central-1",
        )
    }),
    ("aws exports", |c| {
        pair(c, "export AWS_ACCESS_KEY_ID=<id>\nexport AWS_SECRET_ACCESS_KEY=<secret>\n")
    }),
    ("aws docker", |c| {
        pair(c, "docker run -e AWS_ACCESS_KEY_ID=<id> -e AWS_SECRET_ACCESS_KEY=<secret> app")
    }),
    ("aws json", |c| pair(c, "{\"AccessKeyId\": \"<id>\", \"SecretAccessKey\": \"<secret>\"}")),
    ("aws create-access-key", |c| {
        pair(
            c,
            "{\n    \"AccessKey\": {\n        \"UserName\": \"ci\",\n        \"AccessKeyId\": \"<id>\",\n        \"Status\": \"Active\",\n        \"SecretAccessKey\": \"<secret>\",\n        \"CreateDate\": \"2024-07-01T12:00:00Z\"\n    }\n}",
        )
    }),
    ("aws csv", |c| pair(c, "Access key ID,Secret access key\n<id>,<secret>\n")),
    ("aws boto3", |c| {
        pair(
            c,
            "boto3.client(\"s3\", aws_access_key_id=\"<id>\", aws_secret_access_key=\"<secret>\")",
        )
    }),
    ("aws terraform", |c| {
        pair(c, "provider \"aws\" {\n  access_key = \"<id>\"\n  secret_key = \"<secret>\"\n}")
    }),
    ("aws sdk js", |c| {
        pair(c, "credentials: { accessKeyId: '<id>', secretAccessKey: '<secret>' }")
    }),
    ("aws side by side", |c| pair(c, "key <id> secret <secret>")),
    ("aws java", |c| pair(c, "new BasicAWSCredentials(\"<id>\", \"<secret>\")")),
    ("aws go", |c| pair(c, "credentials.NewStaticCredentials(\"<id>\", \"<secret>\", \"\")")),
    ("aws configure", |c| {
        pair(
            c,
            "AWS Access Key ID [None]: <id>\nAWS Secret Access Key [None]: <secret>\nDefault region name [None]: eu-central-1",
        )
    }),
    ("aws rclone", |c| {
        pair(c, "[s3]\ntype = s3\naccess_key_id = <id>\nsecret_access_key = <secret>")
    }),
    ("aws s3cmd", |c| pair(c, "[default]\naccess_key = <id>\nsecret_key = <secret>")),
    ("aws s3fs", |c| pair(c, "echo <id>:<secret> > ~/.passwd-s3fs")),
    ("aws lines", |c| pair(c, "<id>\n<secret>\n")),
    ("aws yaml", |c| pair(c, "aws:\n  accessKeyId: <id>\n  secretAccessKey: <secret>")),
    ("aws appsettings", |c| {
        pair(c, "\"AWS\": {\"AccessKey\": \"<id>\", \"SecretKey\": \"<secret>\"}")
    }),
    ("aws session", |c| {
        let id = shape(c, "ASIA[A-Z2-7]{16}");
        let secret = shape(c, "[A-Za-z0-9/+]{40}");
        let token = shape(c, "IQoJb3JpZ2luX2Vj[A-Za-z0-9/+]{300}==");
        let text = json!({"Credentials": {"AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": token, "Expiration": "2024-07-01T12:00:00Z"}});
        Sample::new("", serde_json::to_string_pretty(&text).expect("JSON"), &[&id, &secret, &token])
    }),
    ("aws session exports", |c| {
        let id = shape(c, "ASIA[A-Z2-7]{16}");
        let token = shape(c, "IQoJb3JpZ2luX2Vj[A-Za-z0-9/+]{300}");
        let text =
            format!("AWS_ACCESS_KEY_ID={id}\nAWS_SESSION_TOKEN={token}\nAWS_REGION=eu-west-1");
        Sample::new("", text, &[&id, &token])
    }),
    ("aws presigned", |c| {
        let id = shape(c, "AKIA[A-Z2-7]{16}");
        let signature = hex(c, 64);
        let text = format!(
            "https://b.s3.amazonaws.com/a.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={id}%2F20240701%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20240701T120000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
        );
        Sample::new("", text, &[&id, &signature])
    }),
    ("google service account", |c| service_account(c, false)),
    ("google service account, one line", |c| service_account(c, true)),
    ("google application default", |c| {
        let secret = shape(c, "GOCSPX-[A-Za-z0-9_-]{27}[A-Za-z0-9]");
        let refresh = shape(c, "1//0[a-z0-9][A-Za-z0-9_-]{80}[A-Za-z0-9]");
        let text = json!({"client_id": "764086051850-x.apps.googleusercontent.com", "client_secret": secret, "refresh_token": refresh, "type": "authorized_user"});
        Sample::new("", text.to_string(), &[&secret, &refresh])
    }),
    ("azure storage", |c| {
        let key = STANDARD.encode(bytes(c, 64));
        let account = word(c);
        Sample::new(
            "",
            format!("az storage blob list --account-name {account} --account-key {key} -c x"),
            &[&key],
        )
    }),
    ("azure principal", |c| {
        let secret = shape(c, "[a-zA-Z0-9]{3}8Q~[a-zA-Z0-9_.~-]{33}[a-zA-Z0-9]");
        let text =
            json!({"appId": uuid(c), "displayName": "ci", "password": secret, "tenant": uuid(c)});
        Sample::new("", serde_json::to_string_pretty(&text).expect("JSON"), &[&secret])
    }),
    ("azure credentials", |c| {
        let secret = shape(c, "[a-zA-Z0-9]{3}8Q~[a-zA-Z0-9_.~-]{33}[a-zA-Z0-9]");
        let text = json!({"clientId": uuid(c), "clientSecret": secret, "subscriptionId": uuid(c), "tenantId": uuid(c)});
        Sample::new("", text.to_string(), &[&secret])
    }),
    ("azure keys list", |c| {
        let (one, two) = (STANDARD.encode(bytes(c, 64)), STANDARD.encode(bytes(c, 64)));
        let text = json!([{"keyName": "key1", "permissions": "FULL", "value": one}, {"keyName": "key2", "permissions": "FULL", "value": two}]);
        Sample::new("", serde_json::to_string_pretty(&text).expect("JSON"), &[&one, &two])
    }),
    ("azure sas", |c| {
        let signature = shape(c, "[A-Za-z0-9]{30}%2F[A-Za-z0-9]{12}%3D");
        Sample::new(
            "",
            format!(
                "?sv=2022-11-02&ss=b&srt=sco&sp=rwdlac&se=2024-07-02T00:00:00Z&st=2024-07-01T00:00:00Z&spr=https&sig={signature}"
            ),
            &[&signature],
        )
    }),
    ("digitalocean spaces", |c| {
        let (id, secret) = (shape(c, "DO00[A-Z0-9]{16}"), shape(c, "[A-Za-z0-9/+]{43}"));
        Sample::new("", format!("SPACES_KEY={id}\nSPACES_SECRET={secret}\n"), &[&secret])
    }),
    ("cloudflare r2", |c| {
        let (id, secret) = (hex(c, 32), hex(c, 64));
        Sample::new(
            "",
            format!("R2_ACCESS_KEY_ID={id}\nR2_SECRET_ACCESS_KEY={secret}\n"),
            &[&secret],
        )
    }),
    ("minio", |c| {
        let secret = shape(c, "[A-Za-z0-9]{40}");
        Sample::new(
            "",
            format!("mc alias set local http://127.0.0.1:9000 admin {secret}"),
            &[&secret],
        )
    }),
    ("terraform state", |c| {
        let secret = shape(c, "[A-Za-z0-9]{24}");
        let text = json!({"type": "random_password", "instances": [{"attributes": {"length": 24, "result": secret, "special": false}}]});
        Sample::new("", text.to_string(), &[&secret])
    }),
    ("alibaba pair", |c| {
        let (id, secret) = (shape(c, "LTAI5t[A-Za-z0-9]{18}"), shape(c, "[A-Za-z0-9]{30}"));
        Sample::new(
            "",
            format!("access_key_id: {id}\naccess_key_secret: {secret}"),
            &[&id, &secret],
        )
    }),
    ("tencent pair", |c| {
        let (id, secret) = (shape(c, "AKID[A-Za-z0-9]{32}"), shape(c, "[A-Za-z0-9]{32}"));
        Sample::new(
            "",
            format!("TENCENTCLOUD_SECRET_ID={id}\nTENCENTCLOUD_SECRET_KEY={secret}"),
            &[&id, &secret],
        )
    }),
    ("oci config", |c| {
        let phrase = shape(c, "[A-Za-z0-9]{14}");
        Sample::new(
            "",
            format!(
                "[DEFAULT]\nuser=ocid1.user.oc1..aaaa\nkey_file=~/.oci/key.pem\npass_phrase={phrase}\nregion=eu-frankfurt-1"
            ),
            &[&phrase],
        )
    }),
    ("scaleway pair", |c| {
        let (id, secret) = (shape(c, "SCW[A-Z0-9]{17}"), uuid(c));
        Sample::new("", format!("access_key: {id}\nsecret_key: {secret}\n"), &[&id, &secret])
    }),
    ("hetzner", |c| {
        let secret = shape(c, "[A-Za-z0-9]{64}");
        Sample::new("", format!("[[contexts]]\nname = \"prod\"\ntoken = \"{secret}\""), &[&secret])
    }),
];

fn pair(chance: &mut Chance, template: &str) -> Sample {
    let id = shape(chance, "AKIA[A-Z2-7]{16}");
    let secret = loop {
        let secret = shape(chance, "[A-Za-z0-9/+]{40}");
        if secret.bytes().any(|b| b.is_ascii_digit()) && !secret.starts_with('/') {
            break secret;
        }
    };
    let text = template.replace("<id>", &id).replace("<secret>", &secret);
    Sample::new("", text, &[&id, &secret])
}

fn service_account(chance: &mut Chance, one_line: bool) -> Sample {
    let key = keys::pem(chance, "PRIVATE KEY", 1200);
    let id = hex(chance, 40);
    let project = format!("{}-prod", word(chance));
    let text = json!({
        "type": "service_account",
        "project_id": project,
        "private_key_id": id,
        "private_key": key.text(),
        "client_email": "ci@example.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let text = if one_line {
        text.to_string()
    } else {
        serde_json::to_string_pretty(&text).expect("JSON")
    };
    Sample { name: String::new(), text, secrets: key.body, kept: vec![project] }
}

pub fn plain(chance: &mut Chance, index: usize) -> Sample {
    let (name, form) = FORMS[index % FORMS.len()];
    Sample { name: name.to_string(), ..form(chance) }
}

const ALIKE: &[&str] = &[
    "aws_access_key_id = <your-key-id>",
    "aws_secret_access_key = YOUR_SECRET_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID: ${{ secrets.AWS_ACCESS_KEY_ID }}",
    "aws_access_key_id=os.environ[\"AWS_ACCESS_KEY_ID\"],",
    "secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY,",
    "region = eu-central-1\noutput = json",
    "arn:aws:s3:::~w~-artifacts/*",
    "arn:aws:lambda:eu-central-1:123456789012:function:~w~",
    "arn:aws:kms:eu-central-1:123456789012:key/UUID",
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com/~w~:1.2.3",
    "vpc-HEX8HEX8",
    "subnet-HEX8HEX8 sg-HEX8HEX8",
    "i-HEX8HEX8 is running",
    "ami-HEX8HEX8",
    "\"VpcId\": \"vpc-HEX8\"",
    "\"RequestId\": \"UUID\"",
    "projects/~w~-prod/locations/europe-west3/keyRings/main/cryptoKeys/~w~",
    "/subscriptions/UUID/resourceGroups/~w~/providers/Microsoft.Web/sites/~w~",
    "\"subscriptionId\": \"UUID\"",
    "\"tenantId\": \"UUID\"",
    "tenant_id = \"UUID\"",
    "\"type\": \"service_account\"",
    "\"token_uri\": \"https://oauth2.googleapis.com/token\"",
    "\"auth_provider_x509_cert_url\": \"https://www.googleapis.com/oauth2/v1/certs\"",
    "GOOGLE_APPLICATION_CREDENTIALS=/secrets/~w~.json",
    "gcloud config set project ~w~-prod",
    "https://~w~.blob.core.windows.net/public/logo.png",
    "https://~w~.vault.azure.net/secrets/db-password",
    "keyName: key1",
    "kms_key_id = \"alias/~w~\"",
    "s3:PutObject, s3:GetObject, secretsmanager:GetSecretValue",
    "\"ETag\": \"\\\"MD5SUM\\\"\"",
    "\"VersionId\": \"RAND32\"",
    "\"ImageDigest\": \"sha256:DIGEST\"",
    "eu-central-1a eu-central-1b",
    "ocid1.instance.oc1.eu-frankfurt-1.aaaa",
    "terraform import aws_iam_access_key.ci ~w~",
    "resource \"aws_secretsmanager_secret\" \"~w~\" {}",
    "\"length\": 24, \"special\": false",
];

pub fn alike(chance: &mut Chance, index: usize) -> Sample {
    let template = ALIKE[index % ALIKE.len()];
    let text = words(chance, template);
    let text = digests(chance, &text);
    let place = pick(chance, &["{}", "{}\n", "  {}", "> {}"]);
    Sample::kept(template, place.replace("{}", &text))
}
