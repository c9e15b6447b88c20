//! A reader of CBOR (RFC 8949), for what authenticators send. CTAP2 gives all items a definite length, and nests them
//! in at most four levels.

/// Maximum depth of nested arrays and maps. CTAP2, section 8, allows four levels.
const MAX_DEPTH: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Integer(i128),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// A truth value, null or a floating-point number, which nothing here needs.
    Other,
}

/// Reads the first item. Returns it and the bytes after it. Returns None if the bytes are malformed.
pub(super) fn read(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    read_item(bytes, 0)
}

impl<'a> Item<'a> {
    /// Returns the value of a key of a map. None if the item is no map, or does not have the key exactly once.
    pub(super) fn get(&self, key: &Item<'_>) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        let mut values = entries.iter().filter(|(own, _)| own == key).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() { None } else { value }
    }

    /// Returns the number. None if the item is no integer, or one of more than 64 bits with its sign.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

fn read_item(bytes: &[u8], depth: usize) -> Option<(Item<'_>, &[u8])> {
    let (initial, rest) = bytes.split_first()?;
    let (argument, rest) = read_argument(initial & 0x1f, rest)?;
    // The upper three bits are the major type.
    match initial >> 5 {
        0 => Some((Item::Integer(i128::from(argument)), rest)),
        1 => Some((Item::Integer(-1 - i128::from(argument)), rest)),
        2 => split(rest, argument).map(|(bytes, rest)| (Item::Bytes(bytes), rest)),
        3 => {
            let (text, rest) = split(rest, argument)?;
            Some((Item::Text(std::str::from_utf8(text).ok()?), rest))
        }
        4 if depth < MAX_DEPTH => {
            let (mut items, mut rest) = (Vec::new(), rest);
            for _ in 0..argument {
                let (item, after) = read_item(rest, depth + 1)?;
                items.push(item);
                rest = after;
            }
            Some((Item::Array(items), rest))
        }
        5 if depth < MAX_DEPTH => {
            let (mut entries, mut rest) = (Vec::new(), rest);
            for _ in 0..argument {
                let (key, after) = read_item(rest, depth + 1)?;
                let (value, after) = read_item(after, depth + 1)?;
                entries.push((key, value));
                rest = after;
            }
            Some((Item::Map(entries), rest))
        }
        7 => Some((Item::Other, rest)),
        _ => None,
    }
}

/// Reads the argument of an item. `form` is the lower five bits of the first byte, which say how the argument is
/// encoded. Returns None for an indefinite length.
fn read_argument(form: u8, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let size = match form {
        0..=23 => return Some((u64::from(form), bytes)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (argument, rest) = bytes.split_at_checked(size)?;
    Some((argument.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

fn split(bytes: &[u8], length: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Option<Item<'_>> {
        read(bytes).filter(|(_, rest)| rest.is_empty()).map(|(item, _)| item)
    }

    /// The examples are from RFC 8949, appendix A.
    #[test]
    fn items_match_the_examples_of_the_rfc() {
        assert_eq!(whole(&[0x00]), Some(Item::Integer(0)));
        assert_eq!(whole(&[0x18, 0x64]), Some(Item::Integer(100)));
        assert_eq!(whole(&[0x19, 0x03, 0xe8]), Some(Item::Integer(1000)));
        assert_eq!(whole(&[0x1b, 255, 255, 255, 255, 255, 255, 255, 255]), Some(Item::Integer(i128::from(u64::MAX))));
        assert_eq!(whole(&[0x20]), Some(Item::Integer(-1)));
        assert_eq!(whole(&[0x39, 0x03, 0xe7]), Some(Item::Integer(-1000)));
        assert_eq!(whole(&[0x44, 1, 2, 3, 4]), Some(Item::Bytes(&[1, 2, 3, 4])));
        assert_eq!(whole(&[0x64, 0x49, 0x45, 0x54, 0x46]), Some(Item::Text("IETF")));
        assert_eq!(whole(&[0xf5]), Some(Item::Other));
        assert_eq!(whole(&[0xf9, 0x3c, 0x00]), Some(Item::Other));
        assert_eq!(whole(&[0x82, 1, 0x20]), Some(Item::Array(vec![Item::Integer(1), Item::Integer(-1)])));
        let map = whole(&[0xa2, 0x01, 0x02, 0x61, 0x61, 0x41, 0x07]).unwrap();
        assert_eq!(map.get(&Item::Integer(1)).and_then(Item::integer), Some(2));
        assert_eq!(map.get(&Item::Text("a")).and_then(Item::bytes), Some(&[7][..]));
        assert_eq!(map.get(&Item::Integer(2)), None);
    }

    #[test]
    fn malformed_items_are_refused() {
        for bytes in [
            &[][..],
            &[0x18],
            &[0x42, 1],
            &[0x5f, 0x41, 1, 0xff],
            &[0x9f, 0xff],
            &[0x62, 0xff, 0xfe],
            &[0x81],
            &[0xa1, 1],
            &[0xc1, 0x00],
            &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255],
            &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255, 0],
            &[0x81, 0x81, 0x81, 0x81, 0x81, 0x00],
        ] {
            assert_eq!(read(bytes), None, "{bytes:02x?}");
        }
        assert!(whole(&[0x81, 0x81, 0x81, 0x81, 0x00]).is_some());
        let twice = whole(&[0xa2, 0x01, 0x02, 0x01, 0x03]).unwrap();
        assert_eq!(twice.get(&Item::Integer(1)), None, "a key must occur once");
    }
}
