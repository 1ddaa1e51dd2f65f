//! `report.html`: one file, no scripts, nothing fetched.

use anyhow::{Context, Result};
use minijinja::{Environment, UndefinedBehavior};

use super::Account;
use super::view::View;

const PAGE: &str = include_str!("page.html");

/// The page. Every text in it is escaped: the template's name ends in `.html`.
pub fn html(account: &Account) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_template("page.html", PAGE)?;
    let page = environment.get_template("page.html")?;
    page.render(View::of(account)).context("cannot write the report's page")
}
