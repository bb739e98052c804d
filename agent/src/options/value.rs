//! How the value of an option is read: from text to what it means, or to what is wrong with it.

use super::{CaptureChoice, Compress, Fsync, MaxDelete, Repeat};
use crate::core::path::RelPath;
use std::time::Duration;

/// Why a value cannot be taken: ends the sentence "… cannot be taken: ".
pub(super) type Why = String;

fn text(value: &[u8]) -> Result<&str, Why> {
    str::from_utf8(value).map_err(|_| "it is not UTF-8".to_string())
}

/// Reads `true`, `yes`, `false` or `no`.
pub(super) fn bool(value: &[u8]) -> Result<bool, Why> {
    match value {
        b"true" | b"yes" => Ok(true),
        b"false" | b"no" => Ok(false),
        _ => Err("it takes true or false".into()),
    }
}

/// Reads a bool, or `default` or `auto`, which is `None`.
pub(super) fn bool_or_default(value: &[u8]) -> Result<Option<bool>, Why> {
    match value {
        b"default" | b"auto" => Ok(None),
        other => bool(other).map(Some).map_err(|_| "it takes true, false or default".into()),
    }
}

/// Reads a number as OCaml does: a sign, `0o`, `0x`, `0b` or `0u`, underscores. A plain zero in front means nothing.
pub(super) fn int(value: &[u8]) -> Result<i64, Why> {
    let whole = text(value)?;
    let (negative, unsigned) = match whole.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, whole.strip_prefix('+').unwrap_or(whole)),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', b'u' | b'U', ..] => (10, &unsigned[2..]),
        _ => (10, unsigned),
    };
    let starts_with_digit = digits.starts_with(|c: char| c.is_digit(radix));
    let plain: String = digits.chars().filter(|&c| c != '_').collect();
    let signed = if negative { format!("-{plain}") } else { plain };
    match i64::from_str_radix(&signed, radix) {
        Ok(number) if starts_with_digit => Ok(number),
        Err(e)
            if matches!(
                e.kind(),
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow
            ) =>
        {
            Err("the number is too large".into())
        }
        _ => Err("it takes a number, such as 493, 0o755 or -1".into()),
    }
}

/// Reads a number that counts something.
pub(super) fn count<N: TryFrom<i64>>(value: &[u8]) -> Result<N, Why> {
    let number = int(value)?;
    N::try_from(number).map_err(|_| {
        if number < 0 { "it cannot be negative".into() } else { "the number is too large".into() }
    })
}

/// Reads a mask of permission bits; every negative number counts as its two's complement, so that -1 is all of them.
pub(super) fn perms(value: &[u8]) -> Result<u32, Why> {
    const ALL: i64 = 0o7777;
    match int(value)? {
        mask if mask <= ALL => Ok((mask & ALL) as u32),
        _ => Err("it is a mask of permission bits, at most 0o7777".into()),
    }
}

/// Says so if a mask looks octal and is not, as for Unison: `0755` is seven hundred and fifty-five.
pub(super) fn looks_octal(value: &[u8]) -> bool {
    matches!(value, [b'0', rest @ ..] if !rest.is_empty() && rest.iter().all(|b| (b'0'..=b'7').contains(b)))
}

/// Reads a path below the roots; `./` before it and slashes behind it mean nothing.
pub(super) fn path(value: &[u8]) -> Result<RelPath, Why> {
    if value.starts_with(b"/") {
        return Err("it has to be relative to the roots, without a slash at the start".into());
    }
    let parts: Vec<&[u8]> =
        value.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.last() == Some(&&b"*"[..]) {
        return Err("this version does not list a directory for a * at the end; name the paths".into());
    }
    RelPath::new(&parts.join(&b'/')).map_err(|e| e.to_string())
}

/// Reads `N`; `watch` and its combinations are what `vfsync live` is for.
pub(super) fn repeat(value: &[u8]) -> Result<Repeat, Why> {
    match text(value)? {
        "" => Ok(Repeat::Once),
        "watch" => Ok(Repeat::Watch),
        watching if watching.starts_with("watch") => {
            Err("say `watch` alone: it sees everything that changes, so that nothing has to be looked at beside it".into())
        }
        _ => Ok(Repeat::Every(Duration::from_secs(count::<u32>(value)?.into()))),
    }
}

/// Reads `N` or `N%`.
pub(super) fn max_delete(value: &[u8]) -> Result<MaxDelete, Why> {
    match value.strip_suffix(b"%") {
        None => match count(value) {
            Ok(count) => Ok(MaxDelete::Count(count)),
            Err(_) => Err("it takes a number of paths, such as 1000, or a percentage, such as 20%".into()),
        },
        Some(percent) => match count::<u8>(percent.trim_ascii()) {
            Ok(percent @ 0..=100) => Ok(MaxDelete::Percent(percent)),
            _ => Err("a percentage goes from 0% to 100%".into()),
        },
    }
}

/// Reads the size of the ring of events, in bytes.
pub(super) fn ring(value: &[u8]) -> Result<Option<u32>, Why> {
    const LEAST: u64 = 64 << 10;
    const MOST: u64 = 256 << 20;
    let bytes =
        rate(value).ok().flatten().filter(|bytes| bytes.is_power_of_two() && (LEAST..=MOST).contains(bytes));
    match bytes.and_then(|bytes| u32::try_from(bytes).ok()) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err("it takes a power of two from 64K to 256M, such as 16M".into()),
    }
}

/// Reads when data is made durable.
pub(super) fn fsync(value: &[u8]) -> Result<Fsync, Why> {
    match value {
        b"batch" => Ok(Fsync::Batch),
        b"file" => Ok(Fsync::File),
        b"none" => Ok(Fsync::None),
        _ => Err("it takes batch, file or none".into()),
    }
}

/// Reads how changes are noticed.
pub(super) fn capture(value: &[u8]) -> Result<CaptureChoice, Why> {
    match value {
        b"auto" => Ok(CaptureChoice::Auto),
        b"ebpf" => Ok(CaptureChoice::Ebpf),
        b"kprobe" => Ok(CaptureChoice::Kprobe),
        b"fentry" => Ok(CaptureChoice::Fentry),
        b"tracepoint" => Ok(CaptureChoice::Tracepoint),
        b"fanotify" => Ok(CaptureChoice::Fanotify),
        b"scan" => Ok(CaptureChoice::Scan),
        _ => Err("it takes auto, ebpf, kprobe, fentry, tracepoint, fanotify or scan".into()),
    }
}

/// Splits arguments at spaces. A backslash takes the next character literally; quotes mean nothing. As Unison does.
pub(super) fn words(value: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\\' => word.get_or_insert_default().push(*bytes.next().unwrap_or(&b'\\')),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Reads what is compressed.
pub(super) fn compress(value: &[u8]) -> Result<Compress, Why> {
    let level = |level: &[u8]| str::from_utf8(level).ok()?.parse().ok().filter(|n| (1..=19).contains(n));
    match value {
        b"auto" => Ok(Compress::Auto),
        b"none" => Ok(Compress::None),
        b"zstd" => Ok(Compress::Zstd(3)),
        other => match other.strip_prefix(b"zstd:").and_then(level) {
            Some(level) => Ok(Compress::Zstd(level)),
            None => Err("it has to be auto, none, zstd, or zstd: and a level from 1 to 19".into()),
        },
    }
}

/// Reads a rate in bytes a second: a number, with K, M or G for powers of 1024. `None` is no limit.
pub(super) fn rate(value: &[u8]) -> Result<Option<u64>, Why> {
    let why = || "it has to be a number of bytes a second, such as 500K or 2M, or 0 for no limit".to_string();
    let (digits, unit) = match value.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 1 << 10),
        Some((b'm' | b'M', digits)) => (digits, 1 << 20),
        Some((b'g' | b'G', digits)) => (digits, 1 << 30),
        Some(_) => (value, 1),
        None => return Err(why()),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(why());
    }
    let number: u64 = str::from_utf8(digits).ok().and_then(|n| n.parse().ok()).ok_or_else(why)?;
    match number.checked_mul(unit).ok_or_else(why)? {
        0 => Ok(None),
        rate if rate >= 1024 => Ok(Some(rate)),
        _ => Err("less than 1K a second is no rate to work at".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_ocaml_s() {
        for (written, meant) in [
            ("0", 0),
            ("493", 493),
            ("0755", 755),
            ("0o755", 0o755),
            ("0O7_77", 0o777),
            ("0x1ff", 0x1ff),
            ("0b101", 5),
            ("0u12", 12),
            ("-1", -1),
            ("-0o7", -7),
            ("+5", 5),
            ("1_000", 1000),
        ] {
            assert_eq!(int(written.as_bytes()), Ok(meant), "{written}");
        }
        for bad in ["", "-", "0x", "0o8", "_1", "1.5", " 1", "one", "--1", "0o-7", "99999999999999999999"] {
            assert!(int(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn masks_of_permission_bits() {
        assert_eq!(perms(b"-1"), Ok(0o7777));
        assert_eq!(perms(b"0o1777"), Ok(0o1777));
        assert_eq!(perms(b"0"), Ok(0));
        assert_eq!(perms(b"-2"), Ok(0o7776));
        assert!(perms(b"0o10000").is_err());
        assert!(
            looks_octal(b"0755") && !looks_octal(b"0") && !looks_octal(b"0o755") && !looks_octal(b"0809")
        );
    }

    #[test]
    fn paths_below_the_roots() {
        let path_of = |s: &str| path(s.as_bytes()).map(|p| p.to_string());
        assert_eq!(path_of("./a//b/"), Ok("a/b".into()));
        assert_eq!(path_of(""), Ok(".".into()));
        assert_eq!(path_of("."), Ok(".".into()));
        for bad in ["/a", "a/../b", "..", "a/*", "a\0"] {
            assert!(path_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn small_languages() {
        assert_eq!(max_delete(b"10"), Ok(MaxDelete::Count(10)));
        assert_eq!(max_delete(b"10%"), Ok(MaxDelete::Percent(10)));
        assert!(max_delete(b"101%").is_err() && max_delete(b"-1").is_err() && max_delete(b"%").is_err());
        assert_eq!(repeat(b"5"), Ok(Repeat::Every(Duration::from_secs(5))));
        assert_eq!(repeat(b""), Ok(Repeat::Once));
        assert_eq!(repeat(b"watch"), Ok(Repeat::Watch));
        assert!(repeat(b"watch+5").unwrap_err().contains("alone"));
        assert!(repeat(b"-5").is_err());
        assert_eq!(
            words(br"-C  -i a\ b '-x y'"),
            [&b"-C"[..], b"-i", b"a b", b"'-x", b"y'"].map(|w| w.to_vec())
        );
        assert_eq!(words(b"  "), Vec::<Vec<u8>>::new());
        assert_eq!(words(b"a\\"), [b"a\\".to_vec()]);
        assert_eq!((compress(b"auto"), compress(b"none")), (Ok(Compress::Auto), Ok(Compress::None)));
        assert_eq!(
            (compress(b"zstd"), compress(b"zstd:19")),
            (Ok(Compress::Zstd(3)), Ok(Compress::Zstd(19)))
        );
        assert!([&b"zstd:0"[..], b"zstd:20", b"zstd:", b"gzip", b""].iter().all(|v| compress(v).is_err()));
        assert_eq!((rate(b"2048"), rate(b"2k"), rate(b"0")), (Ok(Some(2048)), Ok(Some(2048)), Ok(None)));
        assert_eq!((rate(b"3M"), rate(b"1G")), (Ok(Some(3 << 20)), Ok(Some(1 << 30))));
        let bad = [&b""[..], b"K", b"1", b"-1", b"+5K", b"1.5M", b"1T", b"99999999999999999G"];
        assert!(bad.iter().all(|v| rate(v).is_err()));
        assert_eq!(bool_or_default(b"auto"), Ok(None));
        assert!(bool(b"ture").is_err());
    }

    proptest! {
        #[test]
        fn every_i64_is_read_as_it_is_written(n in any::<i64>()) {
            prop_assert_eq!(int(n.to_string().as_bytes()), Ok(n));
        }

        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = (int(&value), perms(&value), path(&value), repeat(&value), max_delete(&value), words(&value));
        }
    }
}
