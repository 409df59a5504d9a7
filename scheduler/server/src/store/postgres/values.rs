//! Values to PostgreSQL's wire and back.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::super::error::{BoxedError, Failure};
use super::super::tx::{Kind, Row, Value};

/// A statement's parameter: it sends itself as the type that the statement wants.
impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxedError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(n) if *ty == Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
            Self::Int(n) => n.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Bytes(bytes) => bytes.to_sql(ty, out),
            Self::Uuid(id) => id.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::TEXT, Type::BYTEA, Type::UUID].contains(ty)
    }

    to_sql_checked!();
}

/// A column of parameters.
#[derive(Debug)]
enum Array {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Uuid(Vec<Option<Uuid>>),
}

/// Turns rows into arrays, a column each.
pub(super) fn arrays(
    kinds: &[Kind],
    rows: Vec<Vec<Value>>,
) -> Result<Vec<Box<dyn ToSql + Sync + Send>>, Failure> {
    let mut arrays: Vec<Array> = kinds.iter().map(|kind| empty(*kind, rows.len())).collect();
    for row in rows {
        for (column, (array, value)) in arrays.iter_mut().zip(row).enumerate() {
            push(array, value, column)?;
        }
    }
    let boxed = arrays
        .into_iter()
        .map(|array| -> Box<dyn ToSql + Sync + Send> {
            match array {
                Array::Int(values) => Box::new(values),
                Array::Text(values) => Box::new(values),
                Array::Bytes(values) => Box::new(values),
                Array::Uuid(values) => Box::new(values),
            }
        });
    Ok(boxed.collect())
}

fn empty(kind: Kind, rows: usize) -> Array {
    match kind {
        Kind::Int => Array::Int(Vec::with_capacity(rows)),
        Kind::Text => Array::Text(Vec::with_capacity(rows)),
        Kind::Bytes => Array::Bytes(Vec::with_capacity(rows)),
        Kind::Uuid => Array::Uuid(Vec::with_capacity(rows)),
    }
}

fn push(array: &mut Array, value: Value, column: usize) -> Result<(), Failure> {
    match (array, value) {
        (Array::Int(values), Value::Int(n)) => values.push(Some(n)),
        (Array::Text(values), Value::Text(text)) => values.push(Some(text)),
        (Array::Bytes(values), Value::Bytes(bytes)) => values.push(Some(bytes)),
        (Array::Uuid(values), Value::Uuid(id)) => values.push(Some(id)),
        (Array::Int(values), Value::Null) => values.push(None),
        (Array::Text(values), Value::Null) => values.push(None),
        (Array::Bytes(values), Value::Null) => values.push(None),
        (Array::Uuid(values), Value::Null) => values.push(None),
        (_, found) => {
            return Err(Failure::Corrupt {
                column,
                wanted: "a value of the column's kind",
                found: format!("{found:?}"),
            });
        }
    }
    Ok(())
}

/// A row of a result.
pub(super) fn row(found: &tokio_postgres::Row) -> Result<Row, Failure> {
    let columns = (0..found.len()).map(|at| column(found, at));
    let columns: Result<Vec<Value>, tokio_postgres::Error> = columns.collect();
    columns.map(Row).map_err(|error| Failure::Database {
        source: error.into(),
    })
}

fn column(found: &tokio_postgres::Row, at: usize) -> Result<Value, tokio_postgres::Error> {
    let ty = found.columns()[at].type_();
    let value = match *ty {
        Type::INT8 => found.try_get::<_, Option<i64>>(at)?.map(Value::Int),
        Type::INT4 => found
            .try_get::<_, Option<i32>>(at)?
            .map(|n| Value::Int(n.into())),
        Type::BOOL => found
            .try_get::<_, Option<bool>>(at)?
            .map(|flag| Value::Int(flag.into())),
        Type::BYTEA => found.try_get::<_, Option<Vec<u8>>>(at)?.map(Value::Bytes),
        Type::UUID => found.try_get::<_, Option<Uuid>>(at)?.map(Value::Uuid),
        // What a lock function returns.
        Type::VOID => None,
        _ => found.try_get::<_, Option<String>>(at)?.map(Value::Text),
    };
    Ok(value.unwrap_or(Value::Null))
}
