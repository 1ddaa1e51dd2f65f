//! Mail, chat and notifications.

use super::{Token, behind, strict, token};

#[rustfmt::skip]
pub static TOKENS: &[Token] = &[
    token("slack-token", "SLACK", &["xoxb-", "xoxp-", "xoxa-", "xoxo-", "xoxr-", "xoxs-", "xoxd-", "xoxc-", "xoxe-", "xoxe.", "xapp-", "xwfp-"], r"(?:xox[abcdeoprs]-|xoxe\.xox[bp]-|xapp-|xwfp-)[A-Za-z0-9%+/=-]{16,}"),
    token("slack-webhook", "WEBHOOK", &["hooks.slack.com/"], r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,}"),
    token("discord-webhook", "WEBHOOK", &["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"], r"discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/[A-Za-z0-9_-]{40,}"),
    token("teams-webhook", "WEBHOOK", &["webhook.office.com/"], r"webhook\.office\.com/webhookb2/[A-Za-z0-9@-]{40,}/IncomingWebhook/[A-Za-z0-9]{32}/[A-Za-z0-9-]{30,36}"),
    token("zapier-webhook", "WEBHOOK", &["hooks.zapier.com/"], r"hooks\.zapier\.com/hooks/catch/[0-9]{4,}/[A-Za-z0-9]{6,}"),
    token("discord-user-token", "DISCORD", &["mfa."], r"mfa\.[A-Za-z0-9_-]{84}"),
    strict(3.3, token("discord-bot-token", "DISCORD", &["MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"], r"(?:M[Tjz]|N[DTjz]|O[DT])[A-Za-z0-9_-]{22,26}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{25,40}")),
    behind(14, token("telegram-bot-token", "TELEGRAM", &[":AA"], r"(?:bot)?[0-9]{8,11}:AA[A-Za-z0-9_-]{30,33}")),
    token("twilio-key", "TWILIO", &["SK"], r"SK[0-9a-fA-F]{32}"),
    token("sendgrid-key", "SENDGRID", &["SG."], r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}"),
    token("mailgun-key", "MAILGUN", &["key-", "pubkey-"], r"(?:pub)?key-[a-f0-9]{32}"),
    behind(36, token("mailchimp-key", "MAILCHIMP", &["-us"], r"[a-f0-9]{32}-us[0-9]{1,2}")),
    token("brevo-key", "BREVO", &["xkeysib-", "xsmtpsib-"], r"x(?:key|smtp)sib-[a-f0-9]{64}-[A-Za-z0-9]{16}"),
    strict(3.8, token("resend-key", "RESEND", &["re_"], r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}")),
    token("intercom-token", "INTERCOM", &["dG9rO"], r"dG9rO[A-Za-z0-9+/]{40,}={0,2}"),
    token("mandrill-key", "MAILCHIMP", &["md-"], r"md-[A-Za-z0-9_-]{22}"),
    token("mailersend-key", "MAILERSEND", &["mlsn."], r"mlsn\.[a-f0-9]{64}"),
    token("onesignal-key", "ONESIGNAL", &["os_v2_"], r"os_v2_(?:app|org)_[a-z2-7]{80,}"),
    token("telnyx-key", "TELNYX", &["KEY"], r"KEY[A-F0-9]{32}_[A-Za-z0-9]{22}"),
    token("pubnub-secret", "PUBNUB", &["sec-c-"], r"sec-c-[A-Za-z0-9+/]{40,}={0,2}"),
    token("matrix-token", "MATRIX", &["syt_", "mct_"], r"(?:syt_[A-Za-z0-9+/=]{4,}_[A-Za-z]{20}_[A-Za-z0-9]{6}|mct_[A-Za-z0-9]{30,}_[A-Za-z0-9]{6})"),
    token("beamer-token", "BEAMER", &["b_"], r"b_[A-Za-z0-9=_-]{44}"),
    token("courier-key", "COURIER", &["pk_prod_", "pk_test_"], r"pk_(?:prod|test)_[A-Z0-9]{28}"),
    token("lark-token", "LARK", &["t-", "u-"], r"[tu]-g[0-9]{5}[A-Za-z0-9]{24,40}"),
    token("ifttt-webhook", "WEBHOOK", &["maker.ifttt.com/"], r"maker\.ifttt\.com/(?:trigger|use)/[A-Za-z0-9_/-]{16,}"),
    token("front-token", "FRONT", &["fnt_"], r"fnt_[A-Za-z0-9]{30,}"),
    token("customerio-key", "CUSTOMERIO", &["cio_"], r"cio_[a-z]{2,4}_[A-Za-z0-9]{30,}"),
];
