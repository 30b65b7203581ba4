//! The table of WebSocket exchanges, in the groups that WebSocket implementations are usually tested by: framing,
//! pings, reserved bits, opcodes, fragments, UTF-8, closing, size.

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// What a client sends, and what must be there before it goes on.
pub(super) struct Step {
    pub(super) send: Vec<u8>,
    /// How many bytes are written at a time.
    pub(super) pieces: usize,
    pub(super) answer: Vec<u8>,
}

/// An exchange from handshake to end.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    end: End,
}

/// How a server ends it.
enum End {
    /// With a close frame of one of these codes.
    Closes(&'static [u16]),
    /// With exactly these bytes.
    Says(Vec<u8>),
}

const PROTOCOL_ERROR: &[u16] = &[1002];
const NOT_UTF8: &[u16] = &[1007];

impl Row {
    /// What is wrong with an answer by RFC 6455.
    pub(super) fn complaint(&self, bytes: &[u8]) -> Option<String> {
        let answers = self.steps.iter().flat_map(|step| &step.answer).copied().collect::<Vec<_>>();
        let Some(end) = bytes.strip_prefix(&answers[..]) else {
            return Some(format!("{} bytes do not begin with the answers", bytes.len()));
        };
        let good = match &self.end {
            End::Says(said) => end == said,
            End::Closes(codes) => match end {
                [first, _, high, low, ..] if *first == FIN | CLOSE => {
                    codes.contains(&u16::from_be_bytes([*high, *low]))
                }
                _ => false,
            },
        };
        (!good).then(|| format!("it ends with {end:02x?}"))
    }
}

/// A frame of a client: always masked, here with the same key.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = head(first, payload.len(), 0x80);
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame of a server.
fn server(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

fn head(first: u8, length: usize, masked: u8) -> Vec<u8> {
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(small @ 0..=125), _) => head.push(masked | small),
        (_, Ok(medium)) => {
            head.push(masked | 126);
            head.extend(medium.to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

fn step(send: Vec<u8>, answer: Vec<u8>) -> Step {
    Step { pieces: usize::MAX, send, answer }
}

/// A message that comes back as it is.
fn echoed(opcode: u8, payload: &[u8]) -> Step {
    step(client(FIN | opcode, payload), server(FIN | opcode, payload))
}

/// The same in fragments of this size, each in a frame of its own.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = payload.chunks(size.max(1)).collect();
    let mut all = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let fin = if at + 1 == pieces.len() { FIN } else { 0 };
        all.extend(client(fin | if at == 0 { opcode } else { 0 }, piece));
    }
    all
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

/// An exchange that the client closes in the usual way.
fn good(name: impl Into<String>, mut steps: Vec<Step>) -> Row {
    let usual = close(1000, b"");
    steps.push(step(client(FIN | CLOSE, &usual), Vec::new()));
    Row { name: name.into(), steps, end: End::Says(server(FIN | CLOSE, &usual)) }
}

/// An exchange that the server must fail, after a message that it must answer.
fn bad(name: impl Into<String>, send: Vec<u8>, codes: &'static [u16]) -> Row {
    let steps = vec![echoed(TEXT, b"before"), step(send, Vec::new())];
    Row { name: name.into(), steps, end: End::Closes(codes) }
}

fn in_pieces(mut step: Step, pieces: usize) -> Step {
    step.pieces = pieces;
    step
}

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    [framing(), pings(), reserved(), opcodes(), fragmented(), utf8(), closing(), sizes()]
        .into_iter()
        .flatten()
        .collect()
}

fn framing() -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, opcode, byte) in [("text", TEXT, b'*'), ("binary", BINARY, 0xfe)] {
        for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
            let message = echoed(opcode, &vec![byte; length]);
            rows.push(good(format!("1 {kind} of {length}"), vec![message]));
        }
        for pieces in [1, 7, 997] {
            let message = in_pieces(echoed(opcode, &vec![byte; 5_000]), pieces);
            rows.push(good(format!("1 {kind} written {pieces} at a time"), vec![message]));
        }
        let long_head = [vec![FIN | opcode, 0xff], 5_u64.to_be_bytes().to_vec()].concat();
        let masked = client(FIN | opcode, b"hello")[2..].to_vec();
        let step = step([long_head, masked].concat(), server(FIN | opcode, b"hello"));
        rows.push(good(format!("1 {kind} with a long length"), vec![step]));
    }
    rows
}

fn pings() -> Vec<Row> {
    let ping = |payload: &[u8]| step(client(FIN | PING, payload), server(FIN | PONG, payload));
    let ten = || (0..10_u8).map(|n| ping(&[n; 3])).collect::<Vec<_>>();
    let pong = |payload: &[u8]| step(client(FIN | PONG, payload), Vec::new());
    vec![
        good("2 empty ping", vec![ping(b"")]),
        good("2 ping with text", vec![ping(b"Hello, world!")]),
        good("2 ping with bytes", vec![ping(&[0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff])]),
        good("2 ping of 125", vec![ping(&[0xfe; 125])]),
        bad("2 ping of 126", client(FIN | PING, &[0xfe; 126]), PROTOCOL_ERROR),
        good("2 ping of 125 byte by byte", vec![in_pieces(ping(&[0xfe; 125]), 1)]),
        good("2 pong that nobody asked for", vec![pong(b""), echoed(TEXT, b"after")]),
        good("2 pong with payload", vec![pong(b"unsolicited"), ping(b"after")]),
        good("2 ten pings", ten()),
        good("2 ten pings byte by byte", ten().into_iter().map(|step| in_pieces(step, 1)).collect()),
    ]
}

fn reserved() -> Vec<Row> {
    let mut rows = Vec::new();
    for bits in 1..=7_u8 {
        for (kind, opcode) in [("text", TEXT), ("binary", BINARY), ("ping", PING), ("close", CLOSE)] {
            let send = client(FIN | bits << 4 | opcode, if opcode == CLOSE { b"\x03\xe8" } else { b"**" });
            rows.push(bad(format!("3 reserved bits {bits} of {kind}"), send, PROTOCOL_ERROR));
        }
    }
    rows
}

fn opcodes() -> Vec<Row> {
    let unknown = (3..=7_u8).chain(11..=15).flat_map(|opcode| [(opcode, &b""[..]), (opcode, b"payload")]);
    unknown
        .map(|(opcode, payload)| {
            let name = format!("4 opcode {opcode} with {} bytes", payload.len());
            bad(name, client(FIN | opcode, payload), PROTOCOL_ERROR)
        })
        .collect()
}

fn fragmented() -> Vec<Row> {
    let (first, last) = (client(TEXT, b"fragment1"), client(FIN, b"fragment2"));
    let whole = server(FIN | TEXT, b"fragment1fragment2");
    let split = |pieces| in_pieces(step([first.clone(), last.clone()].concat(), whole.clone()), pieces);
    let with_pings = |pieces| {
        let ping = |n: u8| step(client(FIN | PING, &[n]), server(FIN | PONG, &[n]));
        let steps = vec![
            step(first.clone(), Vec::new()),
            ping(1),
            step(client(0, b"-"), Vec::new()),
            ping(2),
            step(last.clone(), server(FIN | TEXT, b"fragment1-fragment2")),
        ];
        steps.into_iter().map(|step| in_pieces(step, pieces)).collect()
    };
    let mut rows = vec![
        bad("5 ping in fragments", fragments(PING, b"frag", 2), PROTOCOL_ERROR),
        bad("5 pong in fragments", fragments(PONG, b"frag", 2), PROTOCOL_ERROR),
        good("5 text in two frames", vec![split(usize::MAX)]),
        good("5 text in two frames byte by byte", vec![split(1)]),
        good("5 pings between fragments", with_pings(usize::MAX)),
        good("5 pings between fragments byte by byte", with_pings(1)),
        bad("5 a last fragment of nothing", client(FIN, b"lost"), PROTOCOL_ERROR),
        bad("5 a fragment of nothing", client(0, b"lost"), PROTOCOL_ERROR),
        bad("5 a message within another", [first, client(FIN | TEXT, b"new")].concat(), PROTOCOL_ERROR),
        bad("5 close in fragments", fragments(CLOSE, b"\x03\xe8ab", 2), PROTOCOL_ERROR),
    ];
    let empty = step([client(TEXT, b""), client(0, b""), client(FIN, b"")].concat(), server(FIN | TEXT, b""));
    rows.push(good("5 three empty fragments", vec![empty]));
    for size in [1, 2, 16, 100] {
        let (sent, back) = (fragments(BINARY, &[7; 200], size), server(FIN | BINARY, &[7; 200]));
        rows.push(good(format!("5 binary in frames of {size}"), vec![step(sent, back)]));
    }
    rows
}

fn utf8() -> Vec<Row> {
    const VALID: &[&str] = &[
        "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
        "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
        "\0",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{ffff}",
        "\u{10000}",
        "\u{10ffff}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{1fffe}",
    ];
    const INVALID: &[&[u8]] = &[
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\x80\xbf\x80",
        b"\xc0 \xc1 ",
        b"\xe0 \xe1 ",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xfe",
        b"\xff\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"cut \xce",
    ];
    let mut rows = Vec::new();
    for text in VALID {
        let name = format!("6 valid {}", text.escape_unicode());
        let split = step(fragments(TEXT, text.as_bytes(), 1), server(FIN | TEXT, text.as_bytes()));
        rows.push(good(name, vec![echoed(TEXT, text.as_bytes()), split]));
    }
    for bytes in INVALID {
        let name = bytes.escape_ascii();
        rows.push(bad(format!("6 invalid {name}"), client(FIN | TEXT, bytes), NOT_UTF8));
        rows.push(bad(format!("6 invalid in fragments {name}"), fragments(TEXT, bytes, 1), NOT_UTF8));
        // As bytes they are as good as any others.
        rows.push(good(format!("6 binary {name}"), vec![echoed(BINARY, bytes)]));
    }
    rows
}

/// An exchange that the client closes in its own way, and the server with the same.
fn closes(name: impl Into<String>, payload: &[u8]) -> Row {
    let steps = vec![echoed(TEXT, b"before"), step(client(FIN | CLOSE, payload), Vec::new())];
    Row { name: name.into(), steps, end: End::Says(server(FIN | CLOSE, payload)) }
}

fn closing() -> Vec<Row> {
    let mut rows = vec![
        closes("7 without a code", b""),
        closes("7 with a reason", &close(1000, b"Hello World!")),
        closes("7 with a reason of 123", &close(1000, &[b'*'; 123])),
        bad("7 half a code", client(FIN | CLOSE, b"\x03"), PROTOCOL_ERROR),
        bad("7 a reason of 124", client(FIN | CLOSE, &close(1000, &[b'*'; 124])), PROTOCOL_ERROR),
        bad(
            "7 a reason that is not UTF-8",
            client(FIN | CLOSE, &close(1000, b"\xce\xba\xe1\xbd")),
            &[1002, 1007],
        ),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        rows.push(closes(format!("7 code {code}"), &close(code, b"")));
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        rows.push(bad(format!("7 code {code}"), client(FIN | CLOSE, &close(code, b"")), PROTOCOL_ERROR));
    }
    rows
}

fn sizes() -> Vec<Row> {
    const MIB: usize = 1 << 20;
    let patterned = |length: usize| (0..length).map(|n| (n % 95) as u8 + 32).collect::<Vec<u8>>();
    let mut rows = Vec::new();
    for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
        for kib in [64, 256, 1024, 4096] {
            let message = echoed(opcode, &patterned(kib << 10));
            rows.push(good(format!("9 {kind} of {kib} KiB"), vec![message]));
        }
        for size in [1 << 10, 64 << 10] {
            let (sent, back) =
                (fragments(opcode, &patterned(MIB), size), server(FIN | opcode, &patterned(MIB)));
            rows.push(good(format!("9 {kind} of 1 MiB in frames of {size}"), vec![step(sent, back)]));
        }
        let chopped = in_pieces(echoed(opcode, &patterned(MIB)), 1_100);
        rows.push(good(format!("9 {kind} of 1 MiB written 1100 at a time"), vec![chopped]));
        for length in [0, 16, 1_024, 16_384] {
            let message = || echoed(opcode, &patterned(length));
            let many = (0..100).map(|_| message()).collect();
            rows.push(good(format!("9 a hundred times {kind} of {length}"), many));
        }
    }
    rows
}
