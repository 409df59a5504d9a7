//! How the link's messages are put into bytes: as tonic's own codec does, with buffers that grow with what is said.
//!
//! tonic keeps two buffers of 8 KiB for each open stream. A scheduler holds thousands of streams on which little is said.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Bytes of a buffer before the first message: a heartbeat and most orders fit.
const BUFFER_BYTES: usize = 256;
/// Messages are written together until they have so many bytes.
const YIELD_BYTES: usize = 32 * 1_024;

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}

/// The codec of `davit.executor.v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for LinkCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for LinkCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = LinkEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        LinkEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

/// Makes room for a message before it is written: a large one is not copied while its buffer grows.
#[derive(Debug)]
pub(crate) struct LinkEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for LinkEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(item.encoded_len());
        let encoded = item.encode(into);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
