//! Payments and shops.

use super::{Token, token};

#[rustfmt::skip]
pub static TOKENS: &[Token] = &[
    token("stripe-key", "STRIPE", &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_prod_", "rk_prod_"], r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}"),
    token("stripe-webhook-secret", "STRIPE", &["whsec_"], r"whsec_[A-Za-z0-9+/=]{24,}"),
    token("shopify-token", "SHOPIFY", &["shpat_", "shpca_", "shppa_", "shpss_", "shptka_"], r"shp(?:at|ca|pa|ss|tka)_[a-fA-F0-9]{32}"),
    token("square-token", "SQUARE", &["sq0atp-", "sq0csp-", "EAAA"], r"(?:sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}|EAAA[A-Za-z0-9_-]{56,70})"),
    token("paypal-token", "PAYPAL", &["access_token$"], r"access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$[a-f0-9]{32}"),
    token("plaid-token", "PLAID", &["access-sandbox-", "access-production-", "access-development-"], r"access-(?:sandbox|production|development)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    token("flutterwave-key", "FLUTTERWAVE", &["FLWSECK"], r"FLWSECK(?:_TEST)?-[A-Za-z0-9]{12,32}-X"),
    token("razorpay-key", "RAZORPAY", &["rzp_live_", "rzp_test_"], r"rzp_(?:live|test)_[A-Za-z0-9]{14,}"),
    token("easypost-key", "EASYPOST", &["EZAK", "EZTK"], r"EZ[AT]K[A-Za-z0-9]{54}"),
    token("shippo-token", "SHIPPO", &["shippo_live_", "shippo_test_"], r"shippo_(?:live|test)_[a-f0-9]{40}"),
    token("duffel-token", "DUFFEL", &["duffel_"], r"duffel_(?:test|live)_[A-Za-z0-9_=-]{40,43}"),
    token("lob-key", "LOB", &["live_", "test_"], r"(?:live|test)_(?:pub_)?[a-f0-9]{31,35}"),
    token("coinbase-key", "COINBASE", &["organizations/"], r"organizations/[0-9a-f-]{36}/apiKeys/[0-9a-f-]{36}"),
    token("mollie-key", "MOLLIE", &["live_", "test_"], r"(?:live|test)_[A-Za-z0-9]{30}"),
    token("gocardless-token", "GOCARDLESS", &["live_", "sandbox_"], r"(?:live|sandbox)_[A-Za-z0-9_=-]{40}"),
    token("adyen-key", "ADYEN", &["AQE"], r"AQE[a-z][A-Za-z0-9+/=-]{60,}"),
    token("paddle-key", "PADDLE", &["pdl_"], r"pdl_(?:live|sdbx)_apikey_[a-z0-9]{26}_[A-Za-z0-9]{22}_[A-Za-z0-9]{3}"),
    token("polar-token", "POLAR", &["polar_"], r"polar_(?:oat|pat|sk)_[A-Za-z0-9_-]{30,}"),
    token("mercury-token", "MERCURY", &["mercury_production_"], r"mercury_production_[a-z]{3}_[A-Za-z0-9_]{30,}"),
    token("woocommerce-key", "WOOCOMMERCE", &["ck_", "cs_"], r"c[ks]_[a-f0-9]{40}"),
    token("midtrans-key", "MIDTRANS", &["Mid-server-"], r"Mid-server-[A-Za-z0-9_-]{24}"),
    token("xendit-key", "XENDIT", &["xnd_"], r"xnd_(?:production|development)_[A-Za-z0-9]{30,}"),
    token("pagarme-key", "PAGARME", &["ak_live_", "ak_test_", "ek_live_", "ek_test_"], r"[ae]k_(?:live|test)_[A-Za-z0-9]{30}"),
    token("mercadopago-token", "MERCADOPAGO", &["APP_USR-"], r"APP_USR-[0-9]{12,18}-[0-9]{6}-[a-f0-9_]{32,}-[0-9]{5,12}"),
    token("omise-key", "OMISE", &["skey_"], r"skey_(?:test_|live_)?[a-z0-9]{19}"),
    token("checkout-key", "CHECKOUT", &["sk_sbox_"], r"sk_sbox_[a-z0-9]{26,}"),
    token("tickettailor-key", "TICKETTAILOR", &["sk_"], r"sk_[0-9]{4}_[0-9]{6}_[a-f0-9]{32}"),
    token("shipengine-key", "SHIPENGINE", &["TEST_"], r"TEST_[A-Za-z0-9+/]{43}"),
    token("flutterwave-public-key", "FLUTTERWAVE", &["FLWPUBK_TEST-"], r"FLWPUBK_TEST-[A-Za-z0-9]{32}-X"),
    token("column-key", "COLUMN", &["live_", "test_"], r"(?:live|test)_[A-Za-z0-9]{27}"),
    token("klaviyo-key", "KLAVIYO", &["pk_"], r"pk_[a-f0-9]{34}"),
    token("checkio-key", "CHECKIO", &["pk_"], r"pk_[a-z0-9]{45}"),
];
