//! A file's name as somebody's machine has it, made fit to be shown and saved.

/// How long a name may be, in bytes: what file systems take, with room for a site's own prefix.
const MAX_BYTES: usize = 200;

/// An extension up to this length is kept when a name is shortened.
const MAX_EXTENSION: usize = 16;

/// What a name becomes of which nothing is left.
const NOTHING: &str = "file";

/// The name without whatever a name should not have; see [`Upload::file_name`](super::Upload::file_name).
pub(crate) fn sanitised(name: &str) -> String {
    // Old browsers sent the whole path, and a program sends what it likes.
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !is_hidden(*c)).map(|c| if is_special(c) { '_' } else { c }).collect();
    let mut name = unreserved(trimmed(&kept).to_owned());
    if name.len() > MAX_BYTES {
        let extension = name.rfind('.').map_or("", |at| &name[at..]);
        let extension = if extension.len() <= MAX_EXTENSION { extension.to_owned() } else { String::new() };
        name.truncate(name.floor_char_boundary(MAX_BYTES - extension.len()));
        name.truncate(trimmed(&name).len());
        name.push_str(&extension);
        // What stood between a device and its extension may be gone.
        name = unreserved(name);
    }
    if name.is_empty() { NOTHING.to_owned() } else { name }
}

fn unreserved(name: String) -> String {
    if is_reserved(&name) { format!("_{name}") } else { name }
}

/// Without dots and white space at the ends: the first hide a file, or are `.` and `..`; the last are lost on Windows.
fn trimmed(name: &str) -> &str {
    name.trim_matches(|c: char| c == '.' || c.is_whitespace())
}

/// Controls, line ends, and marks that cannot be seen: those which turn the direction of writing round show
/// `photo\u{202E}gpj.exe` as `photoexe.jpg`.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// What Windows allows in no name, and what shells and pages make something of.
fn is_special(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// A device of Windows, whatever its extension: `con`, `LPT1.txt`.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        stem => stem.strip_prefix("COM").or(stem.strip_prefix("LPT")).is_some_and(|number| {
            let mut numbers = number.chars();
            matches!((numbers.next(), numbers.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_what_it_should_not_have() {
        let table = [
            ("cat.png", "cat.png"),
            ("My holiday (2).jpeg", "My holiday (2).jpeg"),
            ("Übersicht – 猫.pdf", "Übersicht – 猫.pdf"),
            ("C:\\Users\\ada\\cat.png", "cat.png"),
            ("/etc/passwd", "passwd"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("a/b\\c/d", "d"),
            ("dir/", "file"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            (" . . ", "file"),
            (".htaccess", "htaccess"),
            ("cat.png. . ", "cat.png"),
            ("cat\0.png", "cat.png"),
            ("cat.png\r\nX-Evil: 1", "cat.pngX-Evil_ 1"),
            ("photo\u{202E}gpj.exe", "photogpj.exe"),
            ("\u{FEFF}a\u{200B}b", "ab"),
            ("👩‍👩‍👧.png", "👩‍👩‍👧.png"),
            ("a<b>c:d\"e|f?g*h", "a_b_c_d_e_f_g_h"),
            ("file.txt::$DATA", "file.txt__$DATA"),
            ("CON", "_CON"),
            ("nul.tar.gz", "_nul.tar.gz"),
            ("lpt1 .txt", "_lpt1 .txt"),
            ("COM¹", "_COM¹"),
            ("conin$", "_conin$"),
            ("COM", "COM"),
            ("COM10", "COM10"),
            ("console.log", "console.log"),
        ];
        for (name, expected) in table {
            assert_eq!(sanitised(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let long = sanitised(&format!("{}.jpeg", "x".repeat(5000)));
        assert_eq!((long.len(), long.ends_with("x.jpeg")), (200, true));
        let long = sanitised(&"猫".repeat(500));
        assert_eq!(long, "猫".repeat(66));
        let long = sanitised(&format!("a.{}", "x".repeat(500)));
        assert_eq!(long.len(), 200);
        let device = sanitised(&format!("con.{}", "x".repeat(500)));
        assert_eq!((device.len(), device.starts_with("_con.x")), (200, true));
        assert_eq!(sanitised(&format!("con{}b.txt", " ".repeat(500))), "_con.txt");
        let spaces = sanitised(&format!("a{}b.txt", " ".repeat(500)));
        assert_eq!(spaces, "a.txt");
    }

    #[test]
    fn a_good_name_stays_as_it_is() {
        let names = ["a.b", "CON", "nul .x", "..x..", "a:b", &"é".repeat(300), &format!("{}. .txt", "x".repeat(195))];
        for name in names {
            let once = sanitised(name);
            assert_eq!(sanitised(&once), once, "{name:?}");
        }
    }
}
