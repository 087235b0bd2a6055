//! Captures in the classic format of libpcap (draft-ietf-opsawg-pcap), read as a whole.

/// Most frames that are read of one file: each is traced on a copy of the whole switch.
pub const MOST_FRAMES: usize = 1000;

const FILE_HEADER_SIZE: usize = 24;
const RECORD_HEADER_SIZE: usize = 16;
/// Seconds and microseconds, or nanoseconds.
const MAGICS: [u32; 2] = [0xa1b2_c3d4, 0xa1b2_3c4d];
/// The magic of the newer format, which is another one.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const LINKTYPE_ETHERNET: u32 = 1;

/// The frames of a capture.
///
/// # Errors
/// When it is no such capture, not of Ethernet, cut short, or has frames that were not captured
/// whole: what is missing could decide.
pub fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if bytes.starts_with(&PCAPNG) {
        return Err("it is in pcapng format; convert it: editcap -F pcap IN OUT".into());
    }
    let header = bytes.first_chunk::<FILE_HEADER_SIZE>();
    let header = header.ok_or("it is too short for a capture")?;
    let magic = [header[0], header[1], header[2], header[3]];
    let word: fn([u8; 4]) -> u32 = if MAGICS.contains(&u32::from_le_bytes(magic)) {
        u32::from_le_bytes
    } else if MAGICS.contains(&u32::from_be_bytes(magic)) {
        u32::from_be_bytes
    } else {
        return Err("it is no capture in libpcap's format".into());
    };
    // The upper bits may tell the length of an FCS.
    let link_type = word([header[20], header[21], header[22], header[23]]) & 0x0fff_ffff;
    if link_type != LINKTYPE_ETHERNET {
        return Err(format!(
            "it has link type {link_type}, which is not Ethernet"
        ));
    }
    let mut frames = Vec::new();
    let mut rest = &bytes[FILE_HEADER_SIZE..];
    while !rest.is_empty() {
        let number = frames.len() + 1;
        let cut = || format!("frame {number} is cut short");
        let (record, behind) = rest
            .split_first_chunk::<RECORD_HEADER_SIZE>()
            .ok_or_else(cut)?;
        let captured = word([record[8], record[9], record[10], record[11]]) as usize;
        let original = word([record[12], record[13], record[14], record[15]]) as usize;
        let (frame, behind) = behind.split_at_checked(captured).ok_or_else(cut)?;
        if captured != original {
            let text = "capture whole frames (tcpdump -s 0)";
            return Err(format!(
                "frame {number} has {captured} of {original} bytes; {text}"
            ));
        }
        if frames.len() == MOST_FRAMES {
            let text = "take them in parts (editcap -c)";
            return Err(format!("it has more than {MOST_FRAMES} frames; {text}"));
        }
        frames.push(frame.to_vec());
        rest = behind;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(
        magic: [u8; 4],
        link: u32,
        word: fn(u32) -> [u8; 4],
        sizes: &[(u32, u32)],
    ) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend([0; 16]);
        bytes.extend(word(link));
        for (captured, original) in sizes {
            bytes.extend([0; 8]);
            bytes.extend(word(*captured));
            bytes.extend(word(*original));
            bytes.extend(vec![7; *captured as usize]);
        }
        bytes
    }

    #[test]
    fn both_byte_orders_and_both_resolutions() {
        let sizes = [(60, 60), (14, 14)];
        for magic in MAGICS {
            for (bytes, word) in [
                (magic.to_le_bytes(), u32::to_le_bytes as fn(u32) -> [u8; 4]),
                (magic.to_be_bytes(), u32::to_be_bytes),
            ] {
                let read = frames(&capture(bytes, 1, word, &sizes)).unwrap();
                assert_eq!(read, [vec![7; 60], vec![7; 14]]);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let little = MAGICS[0].to_le_bytes();
        let check = |bytes: &[u8], expected: &str| {
            let said = frames(bytes).unwrap_err();
            assert!(said.contains(expected), "{said}");
        };
        check(&[], "too short");
        check(&[0; 24], "no capture");
        check(&PCAPNG, "editcap");
        check(
            &capture(little, 113, u32::to_le_bytes, &[]),
            "link type 113",
        );
        check(
            &capture(little, 1, u32::to_le_bytes, &[(60, 1500)]),
            "60 of 1500",
        );
        let many = vec![(14, 14); MOST_FRAMES + 1];
        check(&capture(little, 1, u32::to_le_bytes, &many), "more than");
        let whole = capture(little, 1, u32::to_le_bytes, &[(60, 60)]);
        for size in FILE_HEADER_SIZE + 1..whole.len() {
            check(&whole[..size], "frame 1 is cut short");
        }
    }
}
