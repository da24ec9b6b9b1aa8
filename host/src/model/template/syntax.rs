//! From a text to a tree of its own: what of Jinja's language templates may use.

use minijinja::{
    ErrorKind, Value as Constant,
    machinery::{self, Span, Token, ast},
    syntax::SyntaxConfig,
};
use serde_json::Value;

use super::{
    TemplateError,
    functions::{Filter, Test},
};

/// Tokens of one `{{ .. }}` or `{% .. %}`: what is nested deeper than this can't be written.
const MAX_TOKENS_OF_TAG: usize = 500;
/// Tokens of a template in all.
const MAX_TOKENS: usize = 50_000;
/// Blocks inside of blocks.
const MAX_NESTING: usize = 20;

/// Where something stands in a template: both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub fn wrong(self, why: impl Into<String>) -> TemplateError {
        TemplateError { line: self.line, column: self.column, why: why.into() }
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self { line: u32::from(span.start_line).max(1), column: u32::from(span.start_col) + 1 }
    }
}

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Text(String),
    Emit(Expr),
    If { test: Expr, then: Vec<Self>, otherwise: Vec<Self> },
    For { names: Vec<String>, list: Expr, filter: Option<Expr>, body: Vec<Self>, otherwise: Vec<Self> },
    Set { name: String, value: Expr },
}

#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub place: Place,
    pub kind: Box<Kind>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Constant(Value),
    Name(String),
    Attribute(Expr, String),
    Item(Expr, Expr),
    Slice { of: Expr, start: Option<Expr>, stop: Option<Expr> },
    Not(Expr),
    Negative(Expr),
    Binary(Operator, Expr, Expr),
    If { test: Expr, then: Expr, otherwise: Option<Expr> },
    Filter(Filter, Expr, Arguments),
    Test(Test, Expr),
    Call(Expr, Arguments),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Remainder,
    Concatenate,
    In,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
}

/// The parts of `text`.
pub(super) fn parse(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(|error| refused(&error, text))?;
    check_size(text, &syntax)?;
    match machinery::parse(text, "template", syntax).map_err(|error| refused(&error, text))? {
        ast::Stmt::Template(template) => pieces(&template.children, 0),
        _ => Err(Place::default().wrong("it is no template")),
    }
}

/// Refuses what would make a tree too deep to walk, before it is made.
fn check_size(text: &str, syntax: &SyntaxConfig) -> Result<(), TemplateError> {
    let (mut of_tag, mut all) = (0, 0);
    for token in machinery::tokenize(text, false, syntax.clone()) {
        let (token, span) = token.map_err(|error| refused(&error, text))?;
        of_tag = if matches!(token, Token::VariableStart | Token::BlockStart) { 0 } else { of_tag + 1 };
        all += 1;
        if of_tag > MAX_TOKENS_OF_TAG {
            let why = format!("a tag has more than {MAX_TOKENS_OF_TAG} words and signs; take it apart");
            return Err(Place::from(span).wrong(why));
        }
        if all > MAX_TOKENS {
            return Err(Place::from(span).wrong(format!("it has more than {MAX_TOKENS} words and signs in its tags")));
        }
    }
    Ok(())
}

fn refused(error: &minijinja::Error, text: &str) -> TemplateError {
    let start = error.range().map_or(0, |range| range.start.min(text.len()));
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let line = error.line().and_then(|line| u32::try_from(line).ok()).unwrap_or(1);
    let place = Place { line, column: count(&before[line_start..]) + 1 };
    let why = error.detail().unwrap_or("it is not a template");
    place.wrong(if error.kind() == ErrorKind::SyntaxError { why.to_owned() } else { error.kind().to_string() })
}

fn pieces(statements: &[ast::Stmt<'_>], nesting: usize) -> Result<Vec<Piece>, TemplateError> {
    statements.iter().map(|statement| piece(statement, nesting)).collect()
}

fn piece(statement: &ast::Stmt<'_>, nesting: usize) -> Result<Piece, TemplateError> {
    let inside = |body: &[ast::Stmt<'_>], span: Span| {
        if nesting >= MAX_NESTING {
            return Err(Place::from(span).wrong(format!("blocks are nested more than {MAX_NESTING} deep")));
        }
        pieces(body, nesting + 1)
    };
    let absent = |span: Span, word: &str| {
        Err(Place::from(span).wrong(format!("there is no `{word}` here; templates have `if`, `for`, `set` and `raw`")))
    };
    Ok(match statement {
        ast::Stmt::EmitRaw(raw) => Piece::Text(raw.raw.to_owned()),
        ast::Stmt::EmitExpr(emit) => Piece::Emit(expr(&emit.expr)?),
        ast::Stmt::IfCond(cond) => Piece::If {
            test: expr(&cond.expr)?,
            then: inside(&cond.true_body, cond.span())?,
            otherwise: inside(&cond.false_body, cond.span())?,
        },
        ast::Stmt::ForLoop(each) => {
            if each.recursive {
                return Err(Place::from(each.span()).wrong("loops are not recursive here"));
            }
            Piece::For {
                names: names(&each.target)?,
                list: expr(&each.iter)?,
                filter: each.filter_expr.as_ref().map(expr).transpose()?,
                body: inside(&each.body, each.span())?,
                otherwise: inside(&each.else_body, each.span())?,
            }
        }
        ast::Stmt::Set(set) => match names(&set.target)?.as_slice() {
            [name] => Piece::Set { name: name.clone(), value: expr(&set.expr)? },
            _ => return Err(Place::from(set.span()).wrong("`set` takes one name at a time")),
        },
        ast::Stmt::WithBlock(block) => return absent(block.span(), "with"),
        ast::Stmt::SetBlock(block) => return absent(block.span(), "set block"),
        ast::Stmt::AutoEscape(block) => return absent(block.span(), "autoescape"),
        ast::Stmt::FilterBlock(block) => return absent(block.span(), "filter block"),
        ast::Stmt::Do(block) => return absent(block.span(), "do"),
        ast::Stmt::Template(block) => return absent(block.span(), "template"),
    })
}

/// What a loop or `set` gives names to.
fn names(target: &ast::Expr<'_>) -> Result<Vec<String>, TemplateError> {
    let wrong = || Place::from(target.span()).wrong("only plain names can be set");
    let name = |target: &ast::Expr<'_>| match target {
        ast::Expr::Var(name) => Ok(name.id.to_owned()),
        _ => Err(wrong()),
    };
    match target {
        ast::Expr::List(list) => list.items.iter().map(name).collect(),
        ast::Expr::Tuple(tuple) => tuple.items.iter().map(name).collect(),
        one => Ok(vec![name(one)?]),
    }
}

fn expr(from: &ast::Expr<'_>) -> Result<Expr, TemplateError> {
    let place = Place::from(from.span());
    let maybe = |from: &Option<ast::Expr<'_>>| from.as_ref().map(expr).transpose();
    let all = |from: &[ast::Expr<'_>]| from.iter().map(expr).collect::<Result<Vec<_>, _>>();
    let kind = match from {
        ast::Expr::Var(name) => Kind::Name(name.id.to_owned()),
        ast::Expr::Const(constant) => Kind::Constant(value(&constant.value, place)?),
        ast::Expr::Slice(slice) => {
            if slice.step.is_some() {
                return Err(place.wrong("a slice has no step here"));
            }
            Kind::Slice { of: expr(&slice.expr)?, start: maybe(&slice.start)?, stop: maybe(&slice.stop)? }
        }
        ast::Expr::UnaryOp(unary) => match unary.op {
            ast::UnaryOpKind::Not => Kind::Not(expr(&unary.expr)?),
            ast::UnaryOpKind::Neg => Kind::Negative(expr(&unary.expr)?),
        },
        ast::Expr::BinOp(binary) => {
            Kind::Binary(operator(binary.op, place)?, expr(&binary.left)?, expr(&binary.right)?)
        }
        ast::Expr::Compare(compare) => return comparison(compare, place),
        ast::Expr::IfExpr(choice) => Kind::If {
            test: expr(&choice.test_expr)?,
            then: expr(&choice.true_expr)?,
            otherwise: maybe(&choice.false_expr)?,
        },
        ast::Expr::Filter(filter) => {
            let of = filter.expr.as_ref().ok_or_else(|| place.wrong("a filter needs something to filter"))?;
            let known = Filter::named(filter.name).ok_or_else(|| {
                place.wrong(format!("there is no filter `{}`; there are {}", filter.name, Filter::names()))
            })?;
            Kind::Filter(known, expr(of)?, arguments(&filter.args, place)?)
        }
        ast::Expr::Test(test) => {
            let known = Test::named(test.name)
                .filter(|_| test.args.is_empty())
                .ok_or_else(|| place.wrong(format!("there is no test `{}`; there are {}", test.name, Test::names())))?;
            Kind::Test(known, expr(&test.expr)?)
        }
        ast::Expr::GetAttr(attribute) => Kind::Attribute(expr(&attribute.expr)?, attribute.name.to_owned()),
        ast::Expr::GetItem(item) => Kind::Item(expr(&item.expr)?, expr(&item.subscript_expr)?),
        ast::Expr::Call(call) => Kind::Call(expr(&call.expr)?, arguments(&call.args, place)?),
        ast::Expr::List(list) => Kind::List(all(&list.items)?),
        ast::Expr::Tuple(tuple) => Kind::List(all(&tuple.items)?),
        ast::Expr::Map(map) => Kind::Map(all(&map.keys)?.into_iter().zip(all(&map.values)?).collect()),
    };
    Ok(Expr { place, kind: Box::new(kind) })
}

/// `a < b <= c` as `a < b and b <= c`.
fn comparison(compare: &ast::Compare<'_>, place: Place) -> Result<Expr, TemplateError> {
    let mut left = expr(&compare.expr)?;
    let mut whole: Option<Expr> = None;
    for ast::CompareOp { op, expr: right } in &compare.ops {
        let right = expr(right)?;
        let (operator, is_negated) = match op {
            ast::CompareOpKind::Eq => (Operator::Equal, false),
            ast::CompareOpKind::Ne => (Operator::NotEqual, false),
            ast::CompareOpKind::Lt => (Operator::Less, false),
            ast::CompareOpKind::Lte => (Operator::LessOrEqual, false),
            ast::CompareOpKind::Gt => (Operator::Greater, false),
            ast::CompareOpKind::Gte => (Operator::GreaterOrEqual, false),
            ast::CompareOpKind::In => (Operator::In, false),
            ast::CompareOpKind::NotIn => (Operator::In, true),
        };
        let make = |kind| Expr { place, kind: Box::new(kind) };
        let next = make(Kind::Binary(operator, left, right.clone()));
        let next = if is_negated { make(Kind::Not(next)) } else { next };
        whole = Some(match whole {
            Some(before) => make(Kind::Binary(Operator::And, before, next)),
            None => next,
        });
        left = right;
    }
    Ok(whole.unwrap_or(left))
}

fn operator(op: ast::BinOpKind, place: Place) -> Result<Operator, TemplateError> {
    Ok(match op {
        ast::BinOpKind::Eq => Operator::Equal,
        ast::BinOpKind::Ne => Operator::NotEqual,
        ast::BinOpKind::Lt => Operator::Less,
        ast::BinOpKind::Lte => Operator::LessOrEqual,
        ast::BinOpKind::Gt => Operator::Greater,
        ast::BinOpKind::Gte => Operator::GreaterOrEqual,
        ast::BinOpKind::ScAnd => Operator::And,
        ast::BinOpKind::ScOr => Operator::Or,
        ast::BinOpKind::Add => Operator::Add,
        ast::BinOpKind::Sub => Operator::Subtract,
        ast::BinOpKind::Mul => Operator::Multiply,
        ast::BinOpKind::Div => Operator::Divide,
        ast::BinOpKind::FloorDiv => Operator::DivideWhole,
        ast::BinOpKind::Rem => Operator::Remainder,
        ast::BinOpKind::Concat => Operator::Concatenate,
        ast::BinOpKind::In => Operator::In,
        ast::BinOpKind::Pow => return Err(place.wrong("there is no `**` here")),
    })
}

fn arguments(from: &[ast::CallArg<'_>], place: Place) -> Result<Arguments, TemplateError> {
    let mut arguments = Arguments::default();
    for argument in from {
        match argument {
            ast::CallArg::Pos(value) => arguments.positional.push(expr(value)?),
            ast::CallArg::Kwarg(name, value) => arguments.named.push(((*name).to_owned(), expr(value)?)),
            ast::CallArg::PosSplat(_) | ast::CallArg::KwargSplat(_) => {
                return Err(place.wrong("arguments can't be unpacked here"));
            }
        }
    }
    Ok(arguments)
}

fn value(constant: &Constant, place: Place) -> Result<Value, TemplateError> {
    if constant.is_none() {
        return Ok(Value::Null);
    }
    if let Some(text) = constant.as_str() {
        return Ok(Value::String(text.to_owned()));
    }
    if let Ok(flag) = bool::try_from(constant.clone()) {
        return Ok(Value::Bool(flag));
    }
    if let Some(number) = constant.as_i64() {
        return Ok(number.into());
    }
    let number = f64::try_from(constant.clone()).ok().filter(|_| !constant.is_integer());
    number
        .and_then(serde_json::Number::from_f64)
        .map(Value::Number)
        .ok_or_else(|| place.wrong("the number is too large"))
}
