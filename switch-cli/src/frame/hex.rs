//! Bytes as hexadecimal digits.

use std::fmt::Write as _;

/// Two digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of such a text; white space and colons between bytes do not matter.
///
/// # Errors
/// Says what is wrong.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let between = |c: &char| !c.is_whitespace() && *c != ':';
    let digit = |c: char| {
        let digit = c.to_digit(16);
        digit.ok_or_else(|| format!("{c:?} is no hexadecimal digit"))
    };
    let digits: Vec<u32> = text
        .chars()
        .filter(between)
        .map(digit)
        .collect::<Result<_, _>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("the last byte has one digit, and needs two".into());
    }
    Ok(pairs
        .iter()
        .map(|[high, low]| (high << 4 | low) as u8)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let bytes = [0, 0x5a, 0xff];
        assert_eq!(encode(&bytes), "005aff");
        assert_eq!(decode("00:5A ff\n"), Ok(bytes.to_vec()));
        assert_eq!(decode(""), Ok(Vec::new()));
        assert!(decode("0").unwrap_err().contains("two"));
        assert!(decode("0g").unwrap_err().contains("'g'"));
    }
}
