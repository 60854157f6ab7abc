//! Numbers and texts as bytes: what segments and stored days are made of.

/// The bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored listeners cannot be read")]
pub struct Unreadable;

/// Seven bits a byte, lowest first; the eighth says that more follow.
pub fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Zig-zag: what lies before 1970 is negative.
pub fn write_signed(bytes: &mut Vec<u8>, number: i64) {
    write_number(bytes, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends what `write` writes, with its length before it, so that a reader can pass it over.
pub fn write_block(bytes: &mut Vec<u8>, scratch: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    scratch.clear();
    write(scratch);
    write_number(bytes, scratch.len() as u64);
    bytes.extend_from_slice(scratch);
}

/// Reads from the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        let (byte, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    /// Passes over some numbers, without finding out what they are.
    pub fn skip_numbers(&mut self, count: usize) -> Result<(), Unreadable> {
        let mut ends = self.0.iter().enumerate().filter(|(_, byte)| **byte & 0x80 == 0);
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        let (end, _) = ends.nth(last).ok_or(Unreadable)?;
        self.0 = &self.0[end + 1..];
        Ok(())
    }

    pub fn signed(&mut self) -> Result<i64, Unreadable> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub fn small(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.number()?).map_err(|_| Unreadable)
    }

    /// How many items follow, each of which takes a byte at least.
    pub fn count(&mut self) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.number()?).map_err(|_| Unreadable)?;
        if count > self.0.len() { Err(Unreadable) } else { Ok(count) }
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = self.count()?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Unreadable)
    }

    /// What [`write_block`] wrote.
    pub fn block(&mut self) -> Result<Reader<'a>, Unreadable> {
        let length = self.count()?;
        Ok(Reader(self.bytes(length)?))
    }
}
