//! A light lexer for Rust: tokens with their lines, comments apart, contents of strings dropped.
//!
//! It knows what the rules need and no more: words, punctuation, where comments are, how deep a
//! token is in inline modules, and whether it belongs to tests.

/// A word, a punctuation character or a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The word or the character; `""` for strings and characters, whose contents say nothing.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
    /// How many inline modules are around it.
    pub depth: usize,
    /// Whether it stands in a module under `#[cfg(test)]`.
    pub test: bool,
}

/// What a Rust file consists of.
#[derive(Debug, Default)]
pub struct Lexed {
    /// The code.
    pub tokens: Vec<Token>,
    /// Each line of each comment: its number, from 1, and its text.
    pub comments: Vec<(usize, String)>,
    /// Lines that begin inside of a string, as those of inline snapshots do.
    pub string_lines: Vec<usize>,
}

/// Splits a file into tokens and comments. Total: anything gives some tokens.
pub fn lex(text: &str) -> Lexed {
    let mut cursor = Cursor {
        rest: text,
        line: 1,
    };
    let mut lexed = Lexed::default();
    while let Some(first) = cursor.peek(0) {
        let line = cursor.line;
        let token = match first {
            '/' if cursor.rest.starts_with("//") => {
                let comment = cursor.take_while(|c| c != '\n');
                lexed.comments.push((line, comment.to_owned()));
                continue;
            }
            '/' if cursor.rest.starts_with("/*") => {
                let comment = cursor.block_comment();
                let lines = comment.lines().enumerate();
                lexed
                    .comments
                    .extend(lines.map(|(i, text)| (line + i, text.to_owned())));
                continue;
            }
            c if c.is_whitespace() => {
                cursor.bump(1);
                continue;
            }
            '"' => cursor.string(),
            '\'' => cursor.character_or_lifetime(),
            c if c.is_alphanumeric() || c == '_' => cursor.word(),
            c => {
                cursor.bump(1);
                c.to_string()
            }
        };
        lexed.string_lines.extend(line + 1..=cursor.line);
        lexed.tokens.push(Token {
            text: token,
            line,
            depth: 0,
            test: false,
        });
    }
    mark_modules(&mut lexed.tokens);
    lexed
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.chars().nth(ahead)
    }

    /// Steps over so many characters and returns them.
    fn bump(&mut self, count: usize) -> &'a str {
        let end = self
            .rest
            .char_indices()
            .nth(count)
            .map_or(self.rest.len(), |(at, _)| at);
        self.bump_bytes(end)
    }

    fn bump_bytes(&mut self, size: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(size);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.bump_bytes(end)
    }

    /// Block comments nest.
    fn block_comment(&mut self) -> &'a str {
        let start = self.rest;
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.bump(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.bump(2);
            } else if self.bump(1).is_empty() {
                break;
            }
            if depth == 0 {
                break;
            }
        }
        &start[..start.len() - self.rest.len()]
    }

    /// A string that begins here, with its escapes.
    fn string(&mut self) -> String {
        self.bump(1);
        while let Some(c) = self.peek(0) {
            self.bump(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                break;
            }
        }
        "\"\"".to_owned()
    }

    /// The rest of a raw string, from its first `#` or `"`.
    fn raw_string(&mut self) -> String {
        let hashes = self.take_while(|c| c == '#');
        let end = format!("\"{hashes}");
        self.bump(1);
        let at = self.rest.find(&end).map(|at| at + end.len());
        self.bump_bytes(at.unwrap_or(self.rest.len()));
        "\"\"".to_owned()
    }

    fn character_or_lifetime(&mut self) -> String {
        if self.peek(1) == Some('\\') {
            // The escaped character may itself be a quote.
            self.bump(3);
            self.take_while(|c| c != '\'');
            self.bump(1);
            return "\"\"".to_owned();
        }
        if self.peek(2) == Some('\'') {
            self.bump(3);
            return "\"\"".to_owned();
        }
        self.bump(1);
        format!("'{}", self.take_while(is_word))
    }

    /// A word or a number, or the prefix of a string with the string.
    fn word(&mut self) -> String {
        let word = self.take_while(is_word);
        match (word, self.peek(0), self.peek(1)) {
            ("r" | "br" | "cr", Some('"'), _) | ("r" | "br" | "cr", Some('#'), Some('"' | '#')) => {
                self.raw_string()
            }
            ("b" | "c", Some('"'), _) => self.string(),
            ("b", Some('\''), _) => self.character_or_lifetime(),
            ("r", Some('#'), _) => {
                self.bump(1);
                self.take_while(is_word).to_owned()
            }
            _ => word.to_owned(),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the tokens from here on have these texts.
pub fn matches(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    tokens.len() >= at + texts.len()
        && texts
            .iter()
            .zip(&tokens[at..])
            .all(|(text, token)| token.text == *text)
}

/// The index of the brace that closes the one at `open`, or of the last token.
pub fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// Fills in `depth` and `test` of each token.
fn mark_modules(tokens: &mut [Token]) {
    let modules: Vec<usize> = (0..tokens.len())
        .filter(|&at| tokens[at].text == "mod" && matches(tokens, at + 2, &["{"]))
        .collect();
    for at in modules {
        let end = closing(tokens, at + 2);
        let test = is_test_module(tokens, at);
        for token in tokens.iter_mut().take(end).skip(at + 3) {
            token.depth += 1;
            token.test |= test;
        }
    }
}

/// Whether `#[cfg(test)]` is among the attributes in front of the `mod` at this index.
fn is_test_module(tokens: &[Token], module: usize) -> bool {
    let start = tokens[..module]
        .iter()
        .rposition(|token| matches!(token.text.as_str(), ";" | "{" | "}"))
        .map_or(0, |at| at + 1);
    (start..module).any(|at| matches(tokens, at, &["cfg", "(", "test"]))
        || (start..module).any(|at| matches(tokens, at, &["cfg", "(", "all", "(", "test"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let lexed = lex(text);
        let texts: Vec<&str> = lexed.tokens.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(texts, expected, "{text}");
    }

    #[test]
    fn strings_and_characters_lose_their_contents() {
        check(
            r#"a("unsafe \" {", 'x')"#,
            &["a", "(", "\"\"", ",", "\"\"", ")"],
        );
        check(r"'\'' '\u{7f}' b'{' c", &["\"\"", "\"\"", "\"\"", "c"]);
        check(
            "r#\"a \"quote\" {\"# r\"\\\" br##\"}\"#\"## x",
            &["\"\"", "\"\"", "\"\"", "x"],
        );
    }

    #[test]
    fn lines_inside_of_strings_are_known() {
        let lexed = lex("a(\"b\nc\",\n r\"\n\n\")\n// d\n\n");
        assert_eq!(lexed.string_lines, [2, 4, 5]);
    }

    #[test]
    fn lifetimes_and_raw_words_are_words() {
        check("&'a str", &["&", "'a", "str"]);
        check("r#type", &["type"]);
        check("'é' 'outer: loop", &["\"\"", "'outer", ":", "loop"]);
    }

    #[test]
    fn comments_are_apart_and_keep_their_lines() {
        let lexed = lex("a // one\n/* two /* in */\nthree */ b");
        assert_eq!(lexed.tokens.len(), 2);
        assert_eq!(lexed.tokens[1].line, 3);
        let lines: Vec<usize> = lexed.comments.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn modules_are_marked() {
        let lexed = lex("x; #[cfg(test)]\nmod tests { y mod inner { z } } w");
        let find = |text: &str| lexed.tokens.iter().find(|t| t.text == text).unwrap();
        assert_eq!((find("x").depth, find("x").test), (0, false));
        assert_eq!((find("y").depth, find("y").test), (1, true));
        assert_eq!((find("z").depth, find("z").test), (2, true));
        assert_eq!((find("w").depth, find("w").test), (0, false));
    }

    #[test]
    fn unfinished_input_ends() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'\\", "mod a {", "b'"] {
            lex(text);
        }
    }
}
