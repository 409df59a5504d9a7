//! Cursors: opaque to clients, so that what they stand for may change.
//!
//! A letter for the kind of page, the place in hexadecimal, and a checksum: a cursor of another list, or a mistyped one, is
//! refused instead of beginning somewhere.

use davit_types::RunId;
use uuid::Uuid;

use super::problem::Problem;
use crate::store::Cursor;

/// Pages by id.
const IDS: char = 'i';
/// Pages of an append-only log.
const LOG: char = 'l';

fn write(kind: char, place: u128) -> String {
    let place = format!("{kind}{place:032x}");
    let sum = crc32fast::hash(place.as_bytes());
    format!("{place}{sum:08x}")
}

fn read(kind: char, text: &str) -> Result<u128, Problem> {
    let wrong = || Problem::bad_parameter("after", text, "is no cursor of this list");
    let digits = text.strip_prefix(kind).ok_or_else(wrong)?;
    let place = digits.get(..32).ok_or_else(wrong)?;
    let place = u128::from_str_radix(place, 16).map_err(|_| wrong())?;
    if write(kind, place) == text {
        Ok(place)
    } else {
        Err(wrong())
    }
}

/// Where the page after a full one begins; there is none after one that is not full.
pub(super) fn next<T>(page: &[T], rows_max: usize, id: impl Fn(&T) -> Uuid) -> Option<String> {
    let last = page.last().filter(|_| page.len() == rows_max)?;
    Some(write(IDS, id(last).as_u128()))
}

pub(super) fn id(text: Option<&str>) -> Result<Option<Uuid>, Problem> {
    let place = text.map(|text| read(IDS, text)).transpose()?;
    Ok(place.map(Uuid::from_u128))
}

pub(super) fn run(text: Option<&str>) -> Result<Option<RunId>, Problem> {
    Ok(id(text)?.map(RunId::from_uuid))
}

pub(super) fn after_row(cursor: Cursor) -> String {
    let place = (u128::from(cursor.transaction) << 64) | u128::from(cursor.number);
    write(LOG, place)
}

pub(super) fn row(text: Option<&str>) -> Result<Cursor, Problem> {
    let Some(text) = text else {
        return Ok(Cursor::default());
    };
    let place = read(LOG, text)?;
    // Databases count with signed numbers.
    let number = |n: u128| u64::try_from(n).ok().filter(|n| i64::try_from(*n).is_ok());
    match (number(place >> 64), number(place & u128::from(u64::MAX))) {
        (Some(transaction), Some(number)) => Ok(Cursor {
            transaction,
            number,
        }),
        _ => Err(Problem::bad_parameter(
            "after",
            text,
            "is no cursor of this list",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_page_has_a_next_one() {
        let page = [Uuid::from_u128(7), Uuid::from_u128(9)];
        let after = next(&page, 2, |id| *id);
        assert_eq!(id(after.as_deref()).ok(), Some(Some(page[1])));
        assert_eq!(next(&page, 3, |id| *id), None);
        assert_eq!(next(&[], 0, |id: &Uuid| *id), None);
    }

    #[test]
    fn a_cursor_is_taken_by_its_own_list_only() {
        let place = Cursor {
            transaction: 3,
            number: 9,
        };
        let text = after_row(place);
        assert_eq!(row(Some(&text)).ok(), Some(place));
        assert!(id(Some(&text)).is_err());
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert!(row(Some(&other)).is_err(), "{other}");
        }
        assert!(row(Some("")).is_err() && row(Some("lé")).is_err());
    }
}
