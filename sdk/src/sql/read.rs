//! Rows as types of serde.

use std::iter::{Peekable, Zip};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{Error, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{Column, Datum};
use crate::error::{Result, ResultExt};

/// A row as a `T`.
pub(super) fn row<T: DeserializeOwned>(columns: &[Column], row: Vec<Datum>) -> Result<T> {
    T::deserialize(Row { columns, row }).context("a row")
}

struct Row<'a> {
    columns: &'a [Column],
    row: Vec<Datum>,
}

impl<'a> Row<'a> {
    fn values(self) -> Values<'a> {
        Values(self.columns.iter().zip(self.row).peekable())
    }

    /// Of the only column.
    fn single(self) -> Result<Datum, Error> {
        let count = self.row.len();
        let mut values = self.row.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(Error::custom(format!("{count} columns are no single value"))),
        }
    }
}

macro_rules! single {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.single()?.$method(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.values())
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(self.values())
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        if self.row.len() != length {
            return Err(Error::custom(format!("{} columns are no tuple of {length}", self.row.len())));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.single()?.deserialize_enum(name, variants, visitor)
    }

    single! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option
    }

    forward_to_deserialize_any! { i128 u128 char unit unit_struct map struct identifier ignored_any }
}

/// The values of a row; what is wrong with one is said with the name of its column.
struct Values<'a>(Peekable<Zip<std::slice::Iter<'a, Column>, std::vec::IntoIter<Datum>>>);

impl<'de> SeqAccess<'de> for Values<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((column, value)) = self.0.next() else { return Ok(None) };
        let read = seed.deserialize(value);
        read.map(Some).map_err(|error| Error::custom(format!("column `{}`: {error}", column.name)))
    }
}

impl<'de> MapAccess<'de> for Values<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((column, _)) = self.0.peek() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(&column.name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.next_element_seed(seed)?.ok_or_else(|| Error::custom("a column has no value"))
    }
}

impl IntoDeserializer<'_, Error> for Datum {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Numbers that are asked for as such are read from digits, too, and from truth values: MySQL's `tinyint(1)` is both.
macro_rules! number {
    ($($method:ident $visit:ident $type:ty,)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self {
                Datum::Decimal(digits) => {
                    let number = digits.parse::<$type>();
                    visitor.$visit(number.map_err(|error| Error::custom(format!("`{digits}`: {error}")))?)
                }
                Datum::Boolean(value) => visitor.$visit((*value).into()),
                _ => self.deserialize_any(visitor),
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Datum {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Boolean(value) => visitor.visit_bool(value),
            Self::Integer(value) => visitor.visit_i64(value),
            Self::Float(value) => visitor.visit_f64(value),
            Self::Decimal(text) | Self::Text(text) | Self::Time(text) => visitor.visit_string(text),
            // As JSON has them, for who takes whatever comes: a `serde_json::Value`, a row with `#[serde(flatten)]`.
            Self::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            Self::Json(text) => {
                let json: serde_json::Value = serde_json::from_str(&text).map_err(Error::custom)?;
                json.deserialize_any(visitor).map_err(Error::custom)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            Self::Json(text) if text == "null" => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            // Databases without truth values have numbers.
            Self::Integer(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Json(text) => visitor.visit_string(text),
            value => value.deserialize_bytes(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(text) => {
                IntoDeserializer::<Error>::into_deserializer(text).deserialize_enum(name, variants, visitor)
            }
            Self::Json(text) => {
                let json: serde_json::Value = serde_json::from_str(&text).map_err(Error::custom)?;
                json.deserialize_enum(name, variants, visitor).map_err(Error::custom)
            }
            _ => Err(Error::custom(format!("the value is no variant of `{name}`"))),
        }
    }

    number! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i128 visit_i128 i128,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    forward_to_deserialize_any! { char unit unit_struct seq tuple tuple_struct map struct identifier ignored_any }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, Utc};
    use serde::Deserialize;

    use super::*;
    use crate::sql::ToDatum;

    fn read<T: DeserializeOwned>(row: &[(&str, Datum)]) -> Result<T> {
        let column = |name: &str| Column { name: name.to_owned(), type_name: String::new() };
        let columns: Vec<_> = row.iter().map(|(name, _)| column(name)).collect();
        super::row(&columns, row.iter().map(|(_, datum)| datum.clone()).collect())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mood {
        Sad,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct All {
        id: u32,
        name: Option<String>,
        price: f64,
        exact: String,
        open: bool,
        day: NaiveDate,
        at: DateTime<Utc>,
        tags: Vec<String>,
        raw: Vec<u8>,
        mood: Mood,
        #[serde(default)]
        absent: u8,
    }

    #[test]
    fn rows_become_structs_tuples_and_single_values() {
        let text = |text: &str| Datum::Text(text.into());
        let row = [
            ("id", Datum::Integer(7)),
            ("name", Datum::Null),
            ("price", Datum::Decimal("12.50".into())),
            ("exact", Datum::Decimal("12.50".into())),
            ("open", Datum::Integer(1)),
            ("day", Datum::Time("2026-01-31".into())),
            ("at", Datum::Time("2026-01-31T12:30:00Z".into())),
            ("tags", Datum::Json("[\"a\", \"b\"]".into())),
            ("raw", Datum::Bytes(vec![1, 2])),
            ("mood", text("sad")),
            ("more", text("ignored")),
        ];
        let all: All = read(&row).unwrap();
        assert_eq!((all.id, all.name, all.price, all.exact.as_str(), all.open), (7, None, 12.5, "12.50", true));
        assert_eq!((all.day.to_string().as_str(), all.tags.len(), all.raw.as_slice()), ("2026-01-31", 2, &[1, 2][..]));
        assert_eq!((all.at.timestamp(), all.mood, all.absent), (1_769_862_600, Mood::Sad, 0));
        let pair = [("a", Datum::Integer(1)), ("b", text("x"))];
        assert_eq!(read::<(u8, String)>(&pair).unwrap(), (1, "x".to_owned()));
        assert_eq!(read::<i64>(&pair[..1]).unwrap(), 1);
        assert_eq!(read::<Option<String>>(&[("a", Datum::Null)]).unwrap(), None);
        let wrong = read::<(u8,)>(&pair).unwrap_err().to_string();
        assert!(wrong.contains("2 columns are no tuple of 1"), "{wrong}");
        assert!(read::<i64>(&pair).is_err());
        let wrong = read::<(u8, u8)>(&pair).unwrap_err().to_string();
        assert!(wrong.contains("column `b`: invalid type: string \"x\""), "{wrong}");
        let wrong = read::<std::collections::BTreeMap<String, u8>>(&pair).unwrap_err().to_string();
        assert!(wrong.contains("column `b`: invalid type"), "{wrong}");
        let small = [("a", Datum::Boolean(true)), ("b", Datum::Integer(5)), ("c", Datum::Boolean(false))];
        assert_eq!(read::<(u8, i64, f32)>(&small).unwrap(), (1, 5, 0.0));
        assert_eq!(read::<(Option<u8>,)>(&[("a", Datum::Json("null".into()))]).unwrap(), (None,));
        assert!(read::<u8>(&[("a", Datum::Integer(300))]).is_err());
    }

    #[test]
    fn bytes_are_a_list_for_who_takes_whatever_comes_and_bytes_for_who_asks() {
        struct Raw(Vec<u8>);
        impl<'de> Deserialize<'de> for Raw {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Bytes;
                impl Visitor<'_> for Bytes {
                    type Value = Raw;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("bytes")
                    }

                    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Raw, E> {
                        Ok(Raw(bytes))
                    }
                }
                from.deserialize_byte_buf(Bytes)
            }
        }
        let row = [("raw", Datum::Bytes(vec![1, 255]))];
        assert_eq!(read::<serde_json::Value>(&row).unwrap(), serde_json::json!({"raw": [1, 255]}));
        assert_eq!(read::<(Vec<u8>,)>(&row).unwrap().0, [1, 255]);
        assert_eq!(read::<String>(&[("text", Datum::Bytes(b"blob".to_vec()))]).unwrap(), "blob");
        assert_eq!(read::<Raw>(&row).unwrap().0, [1, 255]);
    }

    #[test]
    fn parameters_keep_what_they_are() {
        assert_eq!(u64::MAX.to_datum(), Datum::Decimal("18446744073709551615".into()));
        assert_eq!(Option::<i32>::None.to_datum(), Datum::Null);
        assert_eq!("a".to_datum(), Datum::Text("a".into()));
        assert_eq!(DateTime::<Utc>::UNIX_EPOCH.to_datum(), Datum::Time("1970-01-01T00:00:00Z".into()));
    }
}
