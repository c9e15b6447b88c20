//! Reads the headers of WebSocket frames (RFC 6455, section 5.2) to find the end of each message.

/// Maximum bytes of a frame header: two bytes, a length of eight bytes and a mask of four bytes.
const MAX_HEADER: usize = 14;

/// The current position in the frames that a client sends. The default is the beginning.
///
/// The frames are not validated here. tungstenite ends a connection whose bytes break the protocol.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; MAX_HEADER],
    /// Number of bytes of the header that are read. Zero between two frames.
    header_read: u8,
    /// Number of bytes of the payload that are not read yet.
    payload_left: u64,
    /// Whether the message of the last data frame continues in another frame.
    fragmented: bool,
    /// Sum of the payload lengths of the unfinished message, over all frames whose headers are read.
    unfinished_bytes: u64,
    /// Number of messages that have ended, plus the number of control frames between messages.
    ended: u64,
}

impl Frames {
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let read = usize::try_from(self.payload_left).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.payload_left -= read as u64;
                bytes = &bytes[read..];
            } else {
                self.header[usize::from(self.header_read)] = bytes[0];
                self.header_read += 1;
                bytes = &bytes[1..];
                if !self.header_is_complete() {
                    continue;
                }
                self.begin_payload();
            }
            if self.payload_left == 0 {
                self.end_frame();
            }
        }
    }

    /// Whether a frame is incomplete, or a message lacks its last frame.
    pub(super) fn is_unfinished(&self) -> bool {
        self.header_read > 0 || self.fragmented
    }

    /// Returns the bytes of the unfinished message. The announced length of a frame counts as soon as its header is
    /// read, because memory is allocated for the whole frame.
    pub(super) fn unfinished_bytes(&self) -> usize {
        usize::try_from(self.unfinished_bytes).unwrap_or(usize::MAX)
    }

    /// Returns a number that changes when a message ends, and when a control frame between messages ends.
    pub(super) fn ended(&self) -> u64 {
        self.ended
    }

    fn header_is_complete(&self) -> bool {
        let read = usize::from(self.header_read);
        read >= 2 && {
            let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
            read == 2 + self.length_bytes() + mask
        }
    }

    fn length_bytes(&self) -> usize {
        match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn begin_payload(&mut self) {
        self.payload_left = match self.length_bytes() {
            0 => u64::from(self.header[1] & 0x7f),
            count => self.header[2..2 + count].iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        if !self.is_control() {
            self.unfinished_bytes = self.unfinished_bytes.saturating_add(self.payload_left);
        }
    }

    /// Whether the frame is a control frame: its opcode is 8 or higher. Control frames may come between the frames of a
    /// message.
    fn is_control(&self) -> bool {
        self.header[0] & 0x08 != 0
    }

    fn end_frame(&mut self) {
        self.header_read = 0;
        if !self.is_control() {
            self.fragmented = self.header[0] & 0x80 == 0;
        }
        if !self.fragmented {
            self.unfinished_bytes = 0;
            self.ended += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_OF_TEXT: u8 = 0x01;
    const NEXT: u8 = 0x00;
    const LAST: u8 = 0x80;
    const TEXT: u8 = 0x81;
    const PONG: u8 = 0x8a;

    /// Returns a masked frame, as clients send it.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            126..0x1_0000 => {
                bytes.push(0xfe);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0xff);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([7; 4]);
        bytes.extend(vec![b'x'; length]);
        bytes
    }

    /// The table has, for each input, whether a message is unfinished after it, and how many bytes that message holds.
    #[test]
    fn a_message_is_unfinished_until_its_last_byte() {
        let cut = |mut bytes: Vec<u8>, left_out: usize| {
            bytes.truncate(bytes.len() - left_out);
            bytes
        };
        let table: Vec<(&str, Vec<u8>, bool, usize)> = vec![
            ("nothing", vec![], false, 0),
            ("a text", frame(TEXT, 5), false, 0),
            ("an empty text", frame(TEXT, 0), false, 0),
            ("two texts", [frame(TEXT, 200), frame(TEXT, 70_000)].concat(), false, 0),
            ("one byte", vec![TEXT], true, 0),
            ("a header", cut(frame(TEXT, 5), 5), true, 5),
            ("a long header without its length", frame(TEXT, 70_000)[..9].to_vec(), true, 0),
            ("all but the last byte", cut(frame(TEXT, 70_000), 1), true, 70_000),
            ("a pong", frame(PONG, 0), false, 0),
            ("half a pong", cut(frame(PONG, 5), 1), true, 0),
            ("a fragment", frame(FIRST_OF_TEXT, 100), true, 100),
            ("fragments", [frame(FIRST_OF_TEXT, 100), frame(NEXT, 0), frame(NEXT, 50)].concat(), true, 150),
            ("a pong after a fragment", [frame(FIRST_OF_TEXT, 100), frame(PONG, 4)].concat(), true, 100),
            ("all fragments", [frame(FIRST_OF_TEXT, 9), frame(PONG, 0), frame(LAST, 9)].concat(), false, 0),
            ("a text and a fragment", [frame(TEXT, 9), frame(FIRST_OF_TEXT, 7)].concat(), true, 7),
        ];
        for (name, bytes, unfinished, expected_bytes) in table {
            let mut whole = Frames::default();
            whole.advance(&bytes);
            let mut byte_by_byte = Frames::default();
            for &byte in &bytes {
                byte_by_byte.advance(&[byte]);
            }
            for frames in [whole, byte_by_byte] {
                assert_eq!((frames.is_unfinished(), frames.unfinished_bytes()), (unfinished, expected_bytes), "{name}");
            }
        }
    }

    #[test]
    fn a_pong_inside_a_message_does_not_end_the_message() {
        let mut frames = Frames::default();
        frames.advance(&frame(FIRST_OF_TEXT, 3));
        let first = frames.ended();
        frames.advance(&frame(PONG, 3));
        assert_eq!(frames.ended(), first, "a pong does not end the message around it");
        frames.advance(&[frame(LAST, 3), frame(FIRST_OF_TEXT, 3)].concat());
        assert_ne!(frames.ended(), first);
    }
}
