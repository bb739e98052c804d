use proptest::prelude::*;
use tokio::io::AsyncWrite;

use super::*;
use crate::transport::{Reader, local};

/// A connection whose other end sends `bytes` and then ends.
fn peer_that_sends(bytes: Vec<u8>) -> Connection {
    let reader: Reader = Box::new(io::Cursor::new(bytes));
    Connection::new(reader, Box::new(tokio::io::sink()), "host")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn greeting_of(protocol: u16, oldest: u16, program: &str) -> Vec<u8> {
    Versions { protocol, oldest, program: program.to_owned() }.to_bytes()
}

#[test]
fn the_greeting_has_the_bytes_that_were_published() {
    assert_eq!(greeting_of(1, 1, "0.1.0"), b"\0vfsync\n\0\x01\0\x01\x050.1.0");
}

#[tokio::test]
async fn two_ends_greet_each_other() {
    let (here, there) = local::pair("/a", "/b");
    let (here, there) = tokio::join!(greet_as_initiator(here), greet_as_acceptor(there));
    let (_, seen_here) = here.unwrap();
    let (_, seen_there) = there.unwrap();
    assert_eq!(seen_here, seen_there);
    assert_eq!(seen_here.protocol, PROTOCOL_VERSION);
}

#[tokio::test]
async fn a_newer_version_that_still_understands_ours_is_met_at_ours() {
    let (_, greeting) = greet_as_initiator(peer_that_sends(greeting_of(9, 1, "9.0"))).await.unwrap();
    assert_eq!((greeting.protocol, greeting.theirs.program.as_str()), (PROTOCOL_VERSION, "9.0"));
}

#[tokio::test]
async fn versions_with_nothing_in_common_are_both_named() {
    let error = greet_as_initiator(peer_that_sends(greeting_of(9, 8, "7.5"))).await.err().unwrap();
    let message = error.to_string();
    assert!(message.contains("vfsync 7.5 (protocol 8 to 9)"), "{message}");
    assert!(message.contains(&Versions::ours().to_string()), "{message}");
}

#[tokio::test]
async fn text_without_a_greeting_is_shown() {
    let error = greet_as_initiator(peer_that_sends(b"Welcome\x1b[2J!\n".to_vec())).await.err().unwrap();
    assert!(matches!(error, TransportError::NotVfsync { .. }), "{error}");
    assert!(error.to_string().contains("| Welcome\\u{1b}[2J!"), "{error}");
}

#[tokio::test]
async fn a_flood_of_text_is_cut_off() {
    let (mut flood, reader) = tokio::io::duplex(4096);
    let writer: Box<dyn AsyncWrite + Send + Unpin> = Box::new(tokio::io::sink());
    let connection = Connection::new(Box::new(reader), writer, "host");
    let pour = async move { while flood.write_all(&[b'y'; 4096]).await.is_ok() {} };
    let (_, answer) = tokio::join!(pour, greet_as_initiator(connection));
    let message = answer.err().unwrap().to_string();
    assert!(message.len() < 4096, "{}", message.len());
}

#[tokio::test]
async fn an_end_that_stays_silent_is_given_up() {
    let (_held, reader) = tokio::io::duplex(16);
    let connection = Connection::new(Box::new(reader), Box::new(tokio::io::sink()), "host");
    let answer = greet(connection, Stream::MayBeginWithText, Duration::from_millis(10)).await;
    assert!(matches!(answer, Err(TransportError::Silent { .. })));
}

#[tokio::test]
async fn the_end_that_was_dialled_insists_on_the_magic() {
    let bytes = [b"ls\n".to_vec(), greeting_of(PROTOCOL_VERSION, 1, "x")].concat();
    let answer = greet_as_acceptor(peer_that_sends(bytes)).await;
    assert!(matches!(answer, Err(TransportError::NotStartedByVfsync)));
}

proptest! {
    /// Text before the greeting is skipped wherever it resembles the magic, and what follows stays unread.
    #[test]
    fn a_greeting_is_found_behind_text_and_nothing_beyond_it_is_read(
        text in "(\0|\0v|\0vfs|\0vfsync|vfsync\n|[a-z\n]){0,20}",
        program in "[ -~]{0,255}",
        after in any::<Vec<u8>>(),
    ) {
        prop_assume!(!text.as_bytes().windows(8).any(|w| w == MAGIC));
        let bytes = [text.into_bytes(), greeting_of(3, 1, &program), after.clone()].concat();
        block_on(async {
            let (mut connection, greeting) = greet_as_initiator(peer_that_sends(bytes)).await.unwrap();
            assert_eq!(greeting.theirs.program, program);
            let mut rest = Vec::new();
            connection.reader.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, after);
        });
    }

    /// Any bytes get an answer, and a short one.
    #[test]
    fn any_bytes_get_an_answer(
        mut bytes in prop::collection::vec(prop_oneof![Just(0), Just(b'v'), any::<u8>()], 0..600),
        magic_at in prop::option::of(0..600usize),
    ) {
        if let Some(at) = magic_at {
            let at = at.min(bytes.len());
            bytes.splice(at..at, MAGIC);
        }
        let answers = block_on(async {
            let initiator = greet_as_initiator(peer_that_sends(bytes.clone())).await;
            let acceptor = greet_as_acceptor(peer_that_sends(bytes)).await;
            [initiator, acceptor]
        });
        for error in answers.into_iter().filter_map(Result::err) {
            prop_assert!(error.to_string().len() < 16 * 1024);
        }
    }
}
