//! One line of a session as it is written, read without copying where possible.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A line; which of the fields stand there depends on `kind`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    #[serde(borrow, rename = "type", default)]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub parent_id: Parent<'a>,
    #[serde(borrow, default)]
    pub timestamp: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub append_mode: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub target_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub message: Option<Spoken<'a>>,
    #[serde(borrow, default)]
    pub cwd: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub parent_session: Option<Text<'a>>,
}

/// The `message` of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spoken<'a> {
    #[serde(borrow, default)]
    pub role: Text<'a>,
    #[serde(borrow, default)]
    pub content: Content<'a>,
    #[serde(borrow, default)]
    pub timestamp: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub provider: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub error_message: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub tool_call_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub tool_name: Option<Text<'a>>,
    #[serde(default)]
    pub is_error: Option<bool>,
    #[serde(default)]
    pub details: Details,
    #[serde(borrow, default)]
    pub command: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub output: Option<Text<'a>>,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub cancelled: Option<bool>,
    #[serde(default)]
    pub exclude_from_context: Option<bool>,
    /// What OpenClaw notes of it.
    #[serde(rename = "__openclaw", default)]
    pub own: Option<Value>,
}

/// A block of a message's content.
#[derive(Deserialize)]
pub struct Block<'a> {
    #[serde(borrow, rename = "type", default)]
    pub kind: Text<'a>,
    #[serde(borrow, default)]
    pub text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    #[serde(default)]
    pub arguments: Option<Value>,
}

/// Text, or a number where text is usual.
#[derive(Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text<'_> {
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_string())))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// What a line says of the line it follows.
#[derive(Default)]
pub enum Parent<'a> {
    /// Nothing, as in the linear files of 2025: it follows the line before.
    #[default]
    Unsaid,
    /// It follows none.
    Root,
    Id(Text<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Parent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = Option::<Text>::deserialize(deserializer)?;
        Ok(id.map_or(Parent::Root, Parent::Id))
    }
}

/// What a message says: text or blocks.
#[derive(Default)]
pub enum Content<'a> {
    #[default]
    None,
    Text(Text<'a>),
    Blocks(Vec<Block<'a>>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("text or blocks")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Content<'de>, E> {
                Ok(Content::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content<'de>, E> {
                Ok(Content::Text(Text(Cow::Owned(text.to_string()))))
            }

            fn visit_unit<E: Error>(self) -> Result<Content<'de>, E> {
                Ok(Content::None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(Content::Blocks(blocks))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// What a tool adds to its result; each tool has fields of its own, and the text stands there
/// again, so only what counts is kept.
#[derive(Default)]
pub struct Details {
    pub exit_code: Option<i64>,
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Details;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("details")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Details, A::Error> {
                let mut details = Details::default();
                while let Some(key) = map.next_key::<Text>()? {
                    if &*key == "exitCode" {
                        details.exit_code = map.next_value::<Value>()?.as_i64();
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(details)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Details, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Details::default())
            }

            fn visit_unit<E: Error>(self) -> Result<Details, E> {
                Ok(Details::default())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Details, E> {
                Ok(Details::default())
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Details, E> {
                Ok(Details::default())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Details, E> {
                Ok(Details::default())
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Details, E> {
                Ok(Details::default())
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Details, E> {
                Ok(Details::default())
            }
        }
        deserializer.deserialize_any(Reads)
    }
}
