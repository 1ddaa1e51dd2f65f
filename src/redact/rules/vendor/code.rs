//! Code hosts and package registries.

use super::{Token, behind, strict, token};

#[rustfmt::skip]
pub static TOKENS: &[Token] = &[
    token("github-token", "GITHUB", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[A-Za-z0-9_]{36,255}"),
    token("github-fine-grained-token", "GITHUB", &["github_pat_"], r"github_pat_[A-Za-z0-9_]{36,255}"),
    token("gitlab-token", "GITLAB", &["glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glimt-", "glagent-", "gloas-", "glffct-"], r"gl(?:pat|dt|ft|soat|rtr?|ptt|cbt|imt|agent|oas|ffct)-[A-Za-z0-9_=-]{20,}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?"),
    token("gitlab-runner-token", "GITLAB", &["GR1348941"], r"GR1348941[A-Za-z0-9_-]{20,}"),
    token("bitbucket-token", "ATLASSIAN", &["ATBB"], r"ATBB[A-Za-z0-9_=.-]{20,}"),
    token("atlassian-token", "ATLASSIAN", &["ATATT3", "ATCTT3", "ATSTT3"], r"AT[ACS]TT3[A-Za-z0-9_=.-]{40,}"),
    token("npm-token", "NPM", &["npm_"], r"npm_[A-Za-z0-9]{36,}"),
    token("pypi-token", "PYPI", &["pypi-AgEI", "pypi-AgEN"], r"pypi-AgE[IN][A-Za-z0-9_-]{50,}"),
    token("rubygems-key", "RUBYGEMS", &["rubygems_"], r"rubygems_[a-f0-9]{48}"),
    strict(3.3, token("crates-io-token", "CRATES_IO", &["cio"], r"cio[A-Za-z0-9]{32}")),
    strict(3.3, token("nuget-key", "NUGET", &["oy2"], r"oy2[a-z0-9]{43}")),
    token("clojars-token", "CLOJARS", &["CLOJARS_"], r"CLOJARS_[A-Za-z0-9]{60}"),
    token("docker-token", "DOCKER", &["dckr_pat_", "dckr_oat_"], r"dckr_[po]at_[A-Za-z0-9_-]{27,}"),
    token("jfrog-key", "JFROG", &["AKCp", "cmVmdGtu"], r"(?:AKCp[A-Za-z0-9]{60,75}|cmVmdGtu[A-Za-z0-9]{50,60})"),
    token("packagist-token", "PACKAGIST", &["packagist_"], r"packagist_[a-z]{3}_[A-Za-z0-9]{60,}"),
    behind(14, token("terraform-token", "TERRAFORM", &[".atlasv1."], r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}")),
    token("pulumi-token", "PULUMI", &["pul-"], r"pul-[a-f0-9]{40}"),
    token("sourcegraph-token", "SOURCEGRAPH", &["sgp_", "slk_"], r"(?:sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}|slk_[a-f0-9]{64})"),
    token("deno-token", "DENO", &["ddp_", "ddw_"], r"dd[pw]_[A-Za-z0-9]{36}"),
    token("bitbucket-server-token", "ATLASSIAN", &["BBDC-"], r"BBDC-[A-Za-z0-9+/]{40,50}={0,2}"),
    token("github-app-token", "GITHUB", &["v1."], r"v1\.[a-f0-9]{40}"),
    token("jetbrains-token", "JETBRAINS", &["perm:", "perm-"], r"perm[:-][A-Za-z0-9=+/]{4,}\.[A-Za-z0-9=+/]{2,}\.[A-Za-z0-9]{24,}"),
    token("openvsx-token", "OPENVSX", &["ovsxp_", "ovsxat_"], r"ovsx(?:p|at)_[A-Za-z0-9_-]{30,}"),
    token("jsr-token", "JSR", &["jsrp_", "jsrd_"], r"jsr[pd]_[A-Za-z0-9]{30,}"),
    token("chromatic-token", "CHROMATIC", &["chpt_"], r"chpt_[a-f0-9]{12,}"),
    token("socket-token", "SOCKET", &["sktsec_"], r"sktsec_[A-Za-z0-9_-]{30,}"),
    token("endor-key", "ENDOR", &["endr+"], r"endr\+[A-Za-z0-9-]{16}"),
    token("gitguardian-key", "GITGUARDIAN", &["ggpat_", "ggsat_"], r"gg[ps]at_[A-Za-z0-9]{30,}"),
    token("cloudsmith-key", "CLOUDSMITH", &["ent-eval-"], r"ent-eval-[A-Za-z0-9]{20,}"),
    token("intra42-secret", "INTRA_FORTYTWO", &["s-s4t2ud-", "s-s4t2af-"], r"s-s4t2(?:ud|af)-[a-f0-9]{64}"),
    token("kong-token", "KONG", &["kpat_", "spat_"], r"[ks]pat_[A-Za-z0-9]{40,}"),
    token("wakatime-key", "WAKATIME", &["waka_"], r"waka_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
];
