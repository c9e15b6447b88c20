//! Finds the boxes inside a box of an MP4 or QuickTime file (ISO/IEC 14496-12, section 4.2).

use super::number;

/// Iterates over the boxes inside a box, as pairs of kind and content. Ends before the first incomplete box.
pub fn children(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (header, size) = match number(bytes, 0)? {
            1 => (16, usize::try_from(u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?)).ok()?),
            size => (8, size as usize),
        };
        let (kind, content) = (bytes.get(4..8)?, bytes.get(header..size)?);
        bytes = bytes.get(size..)?;
        Some((kind, content))
    })
}

/// Iterates over the contents of the boxes of one kind inside a box.
pub fn all(bytes: &[u8], kind: [u8; 4]) -> impl Iterator<Item = &[u8]> {
    children(bytes).filter(move |(found, _)| *found == kind).map(|(_, content)| content)
}

pub fn child(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    all(bytes, kind).next()
}
