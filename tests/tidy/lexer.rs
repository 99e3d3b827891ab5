//! Just enough of Rust's tokens: names and punctuation with their lines, without comments, texts and lifetimes.

/// A name, a number or one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// As it is written.
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// The tokens of a file. A text in quotes becomes one `"`.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0, line: 1, found: Vec::new() };
    while lexer.at < chars.len() {
        lexer.step();
    }
    lexer.found
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
    found: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        let (one, two) = (self.peek(0), self.peek(1));
        match one {
            '/' if two == '/' => self.skip_while(|c| c != '\n'),
            '/' if two == '*' => self.block_comment(),
            '"' => self.text(),
            '\'' => self.quote(),
            c if c.is_alphanumeric() || c == '_' => self.word(),
            c => {
                if !c.is_whitespace() {
                    self.push(c.to_string());
                }
                self.advance();
            }
        }
    }

    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self) {
        self.line += usize::from(self.peek(0) == '\n');
        self.at += 1;
    }

    fn push(&mut self, text: String) {
        self.found.push(Token { text, line: self.line });
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.at < self.chars.len() && keep(self.peek(0)) {
            self.advance();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => (depth, self.at) = (depth + 1, self.at + 2),
                ('*', '/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.advance(),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn text(&mut self) {
        self.push("\"".into());
        self.advance();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                self.advance();
            }
            self.advance();
        }
        self.advance();
    }

    /// A text between `hashes` signs, its first quote next.
    fn raw_text(&mut self, hashes: usize) {
        self.push("\"".into());
        self.advance();
        while self.at < self.chars.len() {
            let ends = self.peek(0) == '"' && (1..=hashes).all(|i| self.peek(i) == '#');
            self.advance();
            if ends {
                self.at += hashes;
                return;
            }
        }
    }

    /// A character, or a lifetime, which is no token of ours.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            self.at += 3;
            self.skip_while(|c| c != '\'');
            self.advance();
        } else if self.peek(2) == '\'' {
            self.at += 3;
        } else {
            self.advance();
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
        }
    }

    fn word(&mut self) {
        let from = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[from..self.at].iter().collect();
        let hashes = (0..).take_while(|i| self.peek(*i) == '#').count();
        match word.as_str() {
            "r" | "br" | "cr" if self.peek(hashes) == '"' => {
                self.at += hashes;
                self.raw_text(hashes);
            }
            "b" | "c" if self.peek(0) == '"' => self.text(),
            "b" if self.peek(0) == '\'' => self.quote(),
            _ => self.push(word),
        }
    }
}
