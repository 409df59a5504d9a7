//! What is heard and told, and what is refused.

use serde_json::{Value, json};

use super::*;

const PLAIN: Manners = Manners {
    stdin: true,
    tty: false,
    ends_channels: true,
};

fn inputs(message: &[u8], manners: Manners) -> Result<Vec<Input>, &'static str> {
    heard(&Bytes::copy_from_slice(message), manners)
}

#[test]
fn input_goes_on_in_pieces_that_a_host_takes() {
    let mut message = vec![STDIN];
    message.extend(vec![7; PIECE_BYTES_MAX * 2 + 1]);
    let pieces = inputs(&message, PLAIN).expect("input");
    let sizes: Vec<usize> = pieces
        .iter()
        .map(|piece| match piece {
            Input::Stdin(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 1]);
    assert_eq!(inputs(&[STDIN], PLAIN), Ok(vec![]));
}

#[test]
fn sizes_and_ends_mean_something_where_they_can() {
    let tty = Manners { tty: true, ..PLAIN };
    let size = Input::WindowSize(WindowSize {
        rows: 24,
        columns: 80,
    });
    let told = b"\x04{\"Width\":80,\"Height\":24}";
    assert_eq!(inputs(told, tty), Ok(vec![size]));
    assert_eq!(inputs(told, PLAIN), Ok(vec![]));
    let end = Input::StdinEnd(StdinEnd {});
    assert_eq!(inputs(&[255, 0], PLAIN), Ok(vec![end]));
    for nothing in [
        inputs(&[255, 0], tty),
        inputs(&[255, 1], PLAIN),
        inputs(
            &[255, 0],
            Manners {
                stdin: false,
                ..PLAIN
            },
        ),
    ] {
        assert_eq!(nothing, Ok(vec![]));
    }
}

#[test]
fn what_has_no_place_is_refused() {
    let mut large = vec![RESIZE];
    large.extend([b' '; RESIZE_BYTES_MAX]);
    large.extend(b"{\"Width\":80,\"Height\":24}");
    for message in [
        &b""[..],
        b"\x01out",
        b"\x03{}",
        b"\x05",
        b"\xff",
        b"\xff\x00\x00",
        b"\x04",
        b"\x04{\"Width\":80}",
        b"\x04{\"Width\":0,\"Height\":1}",
        b"\x04{\"Width\":65536,\"Height\":1}",
        &large,
    ] {
        let tty = Manners { tty: true, ..PLAIN };
        assert!(inputs(message, tty).is_err(), "{message:?}");
    }
    let deaf = Manners {
        stdin: false,
        ..PLAIN
    };
    assert!(inputs(b"\x00x", deaf).is_err());
    let fourth = Manners {
        ends_channels: false,
        ..PLAIN
    };
    assert!(inputs(&[255, 0], fourth).is_err());
}

fn status(exit_code: Option<u32>, reason: &str, dropped_bytes: u64) -> Value {
    let ended = Ended {
        exit_code,
        reason: reason.to_owned(),
        message: "so".to_owned(),
        dropped_bytes,
    };
    let told = Status::of(&ended).told();
    assert_eq!(told[0], STATUS);
    serde_json::from_slice(&told[1..]).expect("JSON")
}

#[test]
fn an_end_is_told_as_kubernetes_tells_it() {
    let told = status(Some(0), "exited", 0);
    assert_eq!(
        told,
        json!({"metadata": {}, "status": "Success", "message": "so"})
    );
    let told = status(None, "detached", 3);
    assert_eq!(told["status"], "Success");
    assert_eq!(told["message"], "so; 3 bytes of output were dropped");
    let told = status(Some(7), "exited", 0);
    let causes = json!([{"reason": "ExitCode", "message": "7"}]);
    assert_eq!(told["status"], "Failure");
    assert_eq!(told["reason"], "NonZeroExitCode");
    assert_eq!(told["details"]["causes"], causes);
    let told = status(None, "too_slow", 0);
    assert_eq!(
        (told["status"].as_str(), told["code"].as_u64()),
        (Some("Failure"), Some(500))
    );
    assert_eq!(told["details"]["causes"][0]["reason"], "too_slow");
}
