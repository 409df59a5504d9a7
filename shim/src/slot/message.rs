//! The message to a slot's init: which program, where it may be, with what. See [`super::protocol`].
//!
//! The candidates are execvp's: a name without `/` in each directory of the *new* environment's PATH, anything
//! else as it is. The container's file system is not looked at: the init tries, inside.

use std::borrow::Cow;

use super::protocol::{MESSAGE_BYTES_MAX, OWN_HOME};

/// PATH of an environment without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest path the kernel takes, bytes, its NUL included (PATH_MAX). A longer candidate can be nobody's name.
const PATH_BYTES_MAX: usize = 4096;

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("args is empty: no program is named")]
    NoProgram,
    #[error("{list}[{index}] holds a NUL byte, which no program can be given")]
    Nul { list: &'static str, index: usize },
    #[error(
        "args and env, with the places to look for the program, are longer than \
         {MESSAGE_BYTES_MAX} bytes"
    )]
    TooLong,
}

/// Makes the message, its length in front.
pub(crate) fn encode(args: &[String], env: &[String]) -> Result<Vec<u8>, MessageError> {
    let program = args.first().filter(|program| !program.is_empty());
    let program = program.ok_or(MessageError::NoProgram)?;
    for (list, strings) in [("args", args), ("env", env)] {
        if let Some(index) = strings.iter().position(|string| string.contains('\0')) {
            return Err(MessageError::Nul { list, index });
        }
    }
    let candidates = bounded(program, env)?;
    let lists: [&[Cow<'_, str>]; 3] = [
        &candidates,
        &args.iter().map(Cow::from).collect::<Vec<_>>(),
        &env.iter().map(Cow::from).collect::<Vec<_>>(),
    ];
    let home = !env.iter().any(|variable| variable.starts_with("HOME="));
    let words = lists.iter().map(|list| list.len() + 1).sum::<usize>() + usize::from(home);
    let table_bytes = words * size_of::<u64>();
    let bytes = table_bytes + lists.iter().map(|list| string_bytes(list)).sum::<usize>();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLong);
    }
    let len = u32::try_from(bytes).map_err(|_| MessageError::TooLong)?;
    let mut message = Vec::with_capacity(size_of::<u32>() + bytes);
    message.extend_from_slice(&len.to_ne_bytes());
    let mut offset = table_bytes as u64;
    for (index, list) in lists.iter().enumerate() {
        for string in *list {
            message.extend_from_slice(&offset.to_ne_bytes());
            offset += string.len() as u64 + 1;
        }
        if home && index == 2 {
            message.extend_from_slice(&OWN_HOME.to_ne_bytes());
        }
        message.extend_from_slice(&0_u64.to_ne_bytes());
    }
    for string in lists.iter().flat_map(|list| list.iter()) {
        message.extend_from_slice(string.as_bytes());
        message.push(0);
    }
    Ok(message)
}

fn string_bytes(list: &[Cow<'_, str>]) -> usize {
    list.iter().map(|string| string.len() + 1).sum()
}

/// All candidates, given up as soon as they alone are too long.
fn bounded<'a>(program: &'a str, env: &'a [String]) -> Result<Vec<Cow<'a, str>>, MessageError> {
    let mut bytes = 0;
    candidates(program, env)
        .map(|candidate| {
            bytes += candidate.len() + 1;
            if bytes > MESSAGE_BYTES_MAX {
                return Err(MessageError::TooLong);
            }
            Ok(candidate)
        })
        .collect()
}

/// The files to try, in order.
fn candidates<'a>(
    program: &'a str,
    env: &'a [String],
) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
    let by_name = !program.contains('/');
    // The last of several counts, as it does for the runtimes.
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let named = (!by_name).then_some(Cow::Borrowed(program));
    let found = path
        .split(':')
        .filter(move |_| by_name)
        .map(move |dir| match dir {
            // The working directory, as POSIX has it.
            "" => format!("./{program}"),
            _ => format!("{}/{program}", dir.trim_end_matches('/')),
        })
        .filter(|candidate| candidate.len() < PATH_BYTES_MAX);
    named.into_iter().chain(found.map(Cow::Owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn tried(program: &str, env: &[&str]) -> Vec<String> {
        candidates(program, &strings(env))
            .map(Cow::into_owned)
            .collect()
    }

    #[test]
    fn names_are_looked_for_in_the_new_path_and_paths_are_not() {
        assert_eq!(
            tried("ls", &["A=1", "PATH=/a:/b/::/"]),
            ["/a/ls", "/b/ls", "./ls", "/ls"]
        );
        assert_eq!(
            tried("ls", &["PATH=/first", "PATH=/last"]),
            ["/last/ls"],
            "the last of several counts"
        );
        assert_eq!(tried("./ls", &["PATH=/a"]), ["./ls"]);
        assert_eq!(tried("/bin/ls", &[]), ["/bin/ls"]);
        assert_eq!(tried("ls", &[]).len(), DEFAULT_PATH.split(':').count());
        assert_eq!(tried("ls", &["PATH="]), ["./ls"]);
    }

    #[test]
    fn a_candidate_that_can_be_no_path_is_left_out() {
        let long = format!("PATH=/{}:/b", "x".repeat(PATH_BYTES_MAX));
        assert_eq!(tried("ls", &[&long]), ["/b/ls"]);
    }

    #[test]
    fn what_cannot_be_told_is_refused_by_name() {
        let env = strings(&["PATH=/bin"]);
        assert_eq!(encode(&[], &env), Err(MessageError::NoProgram));
        assert_eq!(encode(&strings(&[""]), &env), Err(MessageError::NoProgram));
        assert_eq!(
            encode(&strings(&["a", "b\0c"]), &env),
            Err(MessageError::Nul {
                list: "args",
                index: 1
            })
        );
        assert_eq!(
            encode(&strings(&["a"]), &strings(&["B=\0"])),
            Err(MessageError::Nul {
                list: "env",
                index: 0
            })
        );
    }

    #[test]
    fn the_bound_is_the_buffers() {
        // One word and one NUL for argument and terminator each, and three tables' ends.
        let env = strings(&["PATH=/", "HOME=/"]);
        let base = encode(&strings(&["/x", ""]), &env).unwrap().len() - size_of::<u32>();
        let fits = "x".repeat(MESSAGE_BYTES_MAX - base);
        assert!(encode(&["/x".to_owned(), fits.clone()], &env).is_ok());
        let over = encode(&["/x".to_owned(), fits + "x"], &env);
        assert_eq!(over, Err(MessageError::TooLong));
        // Few bytes asked for, very many to try.
        let many = format!("PATH={}", "/:".repeat(100_000));
        let over = encode(&["x".repeat(1_000)], &[many]);
        assert_eq!(over, Err(MessageError::TooLong));
    }

    /// Reads a message as the init does.
    fn decoded(message: &[u8]) -> [Vec<Option<String>>; 3] {
        let (len, body) = message.split_at(size_of::<u32>());
        let len = u32::from_ne_bytes(len.try_into().unwrap());
        assert_eq!(usize::try_from(len).unwrap(), body.len());
        let mut words = body
            .chunks_exact(size_of::<u64>())
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
        [(); 3].map(|()| {
            words
                .by_ref()
                .take_while(|word| *word != 0)
                .map(|word| {
                    (word != OWN_HOME).then(|| {
                        let text = &body[usize::try_from(word).unwrap()..];
                        let end = text.iter().position(|byte| *byte == 0).unwrap();
                        String::from_utf8(text[..end].to_vec()).unwrap()
                    })
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            program in "[a-z/]{1,8}",
            rest in proptest::collection::vec("[^\0]{0,20}", 0..20),
            env in proptest::collection::vec("[A-Z]{1,4}=[^\0]{0,20}", 0..20),
        ) {
            let args: Vec<String> = std::iter::once(program).chain(rest).collect();
            let [tried, told_args, told_env] = decoded(&encode(&args, &env).unwrap());
            let wanted: Vec<_> = candidates(&args[0], &env).map(|c| Some(c.into_owned())).collect();
            prop_assert_eq!(tried, wanted);
            prop_assert_eq!(told_args, args.iter().cloned().map(Some).collect::<Vec<_>>());
            let home = env.iter().any(|variable| variable.starts_with("HOME="));
            let own = (!home).then_some(None);
            let wanted: Vec<_> = env.iter().cloned().map(Some).chain(own).collect();
            prop_assert_eq!(told_env, wanted);
        }
    }
}
