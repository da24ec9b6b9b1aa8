//! Templates: texts with expressions in them, in the language of Jinja and with Airflow's names.
//!
//! A [`Template`] is a JSON value of which some texts are templates. It is checked once, with its dag, and rendered for
//! each attempt from a [`Scope`]. Rendering reads nothing: where it needs a variable or a connection, it says so
//! ([`Halt::Needs`]) and is called again when that is known.
//!
//! All that it does is counted, time and memory alike, so that no template can hold up the server: the virtual machine
//! of `minijinja` counts instructions, and `x ~ x` said thirty times over is a gigabyte in few of those. So `minijinja`
//! parses, and the tree is evaluated here.

mod arithmetic;
mod check;
mod evaluate;
mod functions;
mod instants;
mod lookup;
mod pulls;
mod scope;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

use serde_json::Value;

pub use self::{
    check::{Names, PulledTask},
    scope::{ConnectionFacts, Known, Need, PreviousRun, Pull, RunScope, Scope, TaskScope},
};
use self::{
    evaluate::Renderer,
    syntax::{Piece, parse},
};

/// The longest text that may be a template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 64 << 10;
/// What a template may be rendered to, and what may be made on the way there, in bytes.
pub const MAX_RENDERED_BYTES: usize = 4 << 20;
/// The longest concurrency key or label of an instance, in bytes.
pub const MAX_LABEL_BYTES: usize = 250;

/// What is wrong with a template, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct TemplateError {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    pub why: String,
}

/// Why rendering did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// It is to be tried again when this is in [`Scope::known`].
    #[error("it needs {0}")]
    Needs(Need),
    #[error(transparent)]
    Wrong(#[from] TemplateError),
}

/// A text with expressions in it.
#[derive(Debug, Clone)]
pub struct TextTemplate {
    pieces: Vec<Piece>,
    /// The tasks that it names in `ti.xcom_pull`, as far as they are written there.
    pulled: Vec<PulledTask>,
}

impl TextTemplate {
    /// # Errors
    /// If `text` is not of the language, or names what `names` does not have.
    pub fn new(text: &str, names: &Names<'_>) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let why = format!("it has {} bytes; a template may have {MAX_TEMPLATE_BYTES}", text.len());
            return Err(TemplateError { line: 1, column: 1, why });
        }
        let pieces = parse(text)?;
        let pulled = names.check(&pieces)?;
        Ok(Self { pieces, pulled })
    }

    /// The tasks whose XComs it pulls, as far as they are known before it is rendered.
    pub fn pulled(&self) -> &[PulledTask] {
        &self.pulled
    }

    /// Its text.
    ///
    /// # Errors
    /// If something is missing or does not fit, or it would be too large.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, Halt> {
        Renderer::new(scope).text(&self.pieces)
    }

    /// The value of its expression if it is nothing else; its text as JSON otherwise.
    fn render_value(&self, scope: &Scope<'_>) -> Result<Value, Halt> {
        match self.pieces.as_slice() {
            [Piece::Emit(expression)] => Renderer::new(scope).json(expression),
            pieces => Renderer::new(scope).text(pieces).map(Value::String),
        }
    }
}

/// What an instance is called by this text: its first [`MAX_LABEL_BYTES`], whole characters. None: it is empty.
pub fn cut_label(text: &str) -> Option<String> {
    let text = text.trim();
    Some(text[..text.floor_char_boundary(MAX_LABEL_BYTES)].to_owned()).filter(|text| !text.is_empty())
}

/// Whether `text` has anything to render: it holds `{{`, `{%` or `{#`.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// Whether a text somewhere in `value` is a template.
pub fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(fields) => fields.values().any(has_template),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A JSON value in which some texts are templates.
#[derive(Debug, Clone)]
pub struct Template {
    root: Part,
}

#[derive(Debug, Clone)]
enum Part {
    Fixed(Value),
    /// What becomes text, whatever its expressions are.
    Text(TextTemplate),
    /// What becomes the value of its expression, if it is nothing else.
    Value(TextTemplate),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Template {
    /// `value` for an input of this JSON Schema, which tells where text is wanted.
    ///
    /// # Errors
    /// Where in the value (a JSON pointer, RFC 6901), and what is wrong with the text there.
    pub fn new(value: &Value, schema: &Value, names: &Names<'_>) -> Result<Self, (String, TemplateError)> {
        let root = Part::new(value, Wanted { schema, root: schema }, names)?;
        Ok(Self { root })
    }

    /// # Errors
    /// As [`TextTemplate::render`], with the JSON pointer of the text.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, (String, Halt)> {
        self.root.render(scope)
    }

    /// As [`TextTemplate::pulled`], of all its texts.
    pub fn pulled(&self) -> Vec<&PulledTask> {
        let mut pulled = Vec::new();
        self.root.pulled(&mut pulled);
        pulled
    }
}

impl Part {
    fn pulled<'p>(&'p self, found: &mut Vec<&'p PulledTask>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) | Self::Value(template) => found.extend(template.pulled()),
            Self::List(parts) => parts.iter().for_each(|part| part.pulled(found)),
            Self::Map(parts) => parts.iter().for_each(|(_, part)| part.pulled(found)),
        }
    }

    fn new(value: &Value, wanted: Wanted<'_>, names: &Names<'_>) -> Result<Self, (String, TemplateError)> {
        let under = |key: &str| {
            let key = key.replace('~', "~0").replace('/', "~1");
            move |(at, error): (String, TemplateError)| (format!("/{key}{at}"), error)
        };
        Ok(match value {
            Value::String(text) if is_template(text) => {
                let template = TextTemplate::new(text, names).map_err(|error| (String::new(), error))?;
                if wanted.is_text() { Self::Text(template) } else { Self::Value(template) }
            }
            Value::Array(items) if has_template(value) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| Self::new(item, wanted.item(), names).map_err(under(&at.to_string())))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) if has_template(value) => Self::Map(
                fields
                    .iter()
                    .map(|(key, field)| {
                        Ok((key.clone(), Self::new(field, wanted.field(key), names).map_err(under(key))?))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            fixed => Self::Fixed(fixed.clone()),
        })
    }

    fn render(&self, scope: &Scope<'_>) -> Result<Value, (String, Halt)> {
        let here = |halt| (String::new(), halt);
        let under = |key: &str, (at, halt): (String, Halt)| (format!("/{key}{at}"), halt);
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => Value::String(template.render(scope).map_err(here)?),
            Self::Value(template) => template.render_value(scope).map_err(here)?,
            Self::List(parts) => {
                let each = |(at, part): (usize, &Self)| part.render(scope).map_err(|why| under(&at.to_string(), why));
                Value::Array(parts.iter().enumerate().map(each).collect::<Result<_, _>>()?)
            }
            Self::Map(parts) => {
                let each = |(key, part): &(String, Self)| {
                    Ok((key.clone(), part.render(scope).map_err(|why| under(key, why))?))
                };
                Value::Object(parts.iter().map(each).collect::<Result<_, _>>()?)
            }
        })
    }
}

/// What a place in a value is to hold, as far as its JSON Schema says so plainly.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    schema: &'a Value,
    root: &'a Value,
}

impl<'a> Wanted<'a> {
    fn at(self, schema: Option<&'a Value>) -> Self {
        let schema = schema.unwrap_or(&Value::Null);
        // `#/$defs/Name`; one that names another is not followed further.
        let named = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        Self { schema: named.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema), root: self.root }
    }

    fn item(self) -> Self {
        self.at(self.schema.get("items"))
    }

    fn field(self, key: &str) -> Self {
        let field = self.schema.get("properties").and_then(|fields| fields.get(key));
        self.at(field.or_else(|| self.schema.get("additionalProperties")))
    }

    /// Whether nothing but text is wanted.
    fn is_text(self) -> bool {
        self.schema.get("type").is_some_and(|kind| kind == "string")
    }
}
