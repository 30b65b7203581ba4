//! Questions as bytes in, answers out, read back by the other half of this crate.

use super::*;
use crate::message::{Answer, Family, Question};

fn asked(name: &str, family: Family) -> (Question, Query) {
    let question = Question::new(7, name, family).unwrap();
    let query = Query::read(&question.encode()).unwrap();
    (question, query)
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A question with this type and name on the wire, without a size.
fn plain(kind: u16, name: &[u8]) -> Vec<u8> {
    let mut message = [7, RECURSE, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    message.extend(name);
    message.extend([kind, INTERNET].map(u16::to_be_bytes).concat());
    message
}

#[test]
fn a_question_is_read_in_any_letter_case_and_repeated_as_it_came() {
    let query = Query::read(&plain(1, b"\x03WeB\x04shop\x03svc\0")).unwrap();
    assert_eq!(query.labels().collect::<Vec<_>>(), ["web", "shop", "svc"]);
    assert_eq!((query.kind(), query.limit()), (Kind::A, 512));
    let answer = query.answer(&Known::NoSuchName, "cluster.local", 512);
    assert!(query.is_answered_by(&answer));
    assert!(answer.windows(4).any(|four| four == b"\x03WeB"), "the letters of the question");
    let (_, with_size) = asked("web", Family::V6);
    assert_eq!((with_size.kind(), with_size.limit()), (Kind::Aaaa, 1232));
}

#[test]
fn what_is_no_single_question_is_left_to_others() {
    let good = plain(1, b"\x03web\0");
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    let table = [
        ("an answer", with(2, 0x81)),
        ("another kind of query", with(2, 0x29)),
        ("two questions", with(5, 2)),
        ("none", with(5, 0)),
        ("an answer in a question", with(7, 1)),
        ("another class", with(good.len() - 1, 3)),
        ("a pointer", with(12, 0xc0)),
        ("a name of odd letters", with(13, b' ')),
        ("cut", good[..good.len() - 1].to_vec()),
        ("nothing", Vec::new()),
        ("a name without end", plain(1, &[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(5))),
    ];
    for (what, message) in table {
        assert_eq!(Query::read(&message), Err(NoQuestion), "{what}");
    }
}

#[test]
fn an_answer_has_the_family_that_was_asked_for_and_says_how_long_an_absence_holds() {
    let both = Known::Addresses(addresses(&["10.0.0.1", "fd00::1"]));
    let table = [
        (Family::V4, &both, Answer::Addresses(addresses(&["10.0.0.1"]), TTL)),
        (Family::V6, &both, Answer::Addresses(addresses(&["fd00::1"]), TTL)),
        (Family::V6, &Known::Addresses(addresses(&["10.0.0.1"])), Answer::Addresses(Vec::new(), 0)),
        (Family::V4, &Known::NoSuchName, Answer::NoSuchName),
    ];
    for (family, known, expected) in table {
        let (question, query) = asked("web.shop.svc.cluster.local", family);
        let answer = query.answer(known, "cluster.local", 1232);
        assert_eq!(question.answer(&answer), Ok(expected.clone()), "{known:?}");
        let absent = !matches!(&expected, Answer::Addresses(found, _) if !found.is_empty());
        let start = b"\x02ns\x03dns\x07cluster\x05local\0";
        assert_eq!(answer.windows(start.len()).any(|part| part == start), absent, "{known:?}");
    }
}

#[test]
fn what_does_not_fit_is_cut_and_comes_whole_over_a_connection() {
    let many: Vec<_> = (0..200_u8).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let (question, query) = asked("web.shop.svc.cluster.local", Family::V4);
    let known = Known::Addresses(many.clone());
    let cut = query.answer(&known, "cluster.local", query.limit());
    assert!(cut.len() <= query.limit());
    assert_eq!(question.answer(&cut), Ok(Answer::Truncated));
    let whole = query.answer(&known, "cluster.local", usize::from(u16::MAX));
    assert_eq!(question.answer(&whole), Ok(Answer::Addresses(many, TTL)));
}

#[test]
fn every_address_comes_first_in_its_turn() {
    let known = Known::Addresses(addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    let first = |turn| match known.clone().turned(turn) {
        Known::Addresses(all) => all[0].to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2, 3].map(first), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    for none in [Known::Addresses(Vec::new()), Known::NoSuchName, Known::Places(Vec::new())] {
        assert_eq!(none.clone().turned(7), none);
    }
}

#[test]
fn places_come_with_their_addresses() {
    let query = Query::read(&plain(33, b"\x05_http\x04_tcp\x03web\0")).unwrap();
    let place = |name: &str, port| Place { name: name.into(), port, addresses: addresses(&["10.0.0.1"]) };
    let known = Known::Places(vec![place("a.web", 80), place("b.web", 81)]);
    let answer = query.answer(&known, "cluster.local", 512);
    let counts = |answer: &[u8]| (answer[7], answer[9], answer[11]);
    assert_eq!(counts(&answer), (2, 0, 2));
    let of_a = [&[0, 0, 0, 50, 0, 80], b"\x01a\x03web\0".as_slice()].concat();
    assert!(answer.windows(of_a.len()).any(|part| part == of_a), "priority, weight, port, name");
    let short = query.answer(&known, "cluster.local", answer.len() - 1);
    assert_eq!(counts(&short), (2, 0, 0), "addresses of places are left out first");
    let failed = query.failed();
    assert_eq!((failed[2] & 0x84, failed[3] & 0xf), (0x80, 2), "no authority has failed");
}
