//! One entry for everything that throws bytes at the reader: the fuzzer and the test suite.
