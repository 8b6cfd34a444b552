"""Containers: what an audio file says about its length, compared with the bytes that it has.

libsndfile believes a header that states too few samples and leaves the others unread. Here the
bytes themselves are asked, without decoding: chunks have to end where the file does, the last Ogg
page has to be whole, the number of the last FLAC frame has to lead to the end that the header
states, and the frames of an MP3 are counted. Containers of other kinds are left to the decoder.

A program that writes to a pipe can't go back to state a length. It leaves 0 or a number that is
larger than any file: such audio goes to the end of the file.
"""

import os
import re
from typing import BinaryIO, NamedTuple

from wedefense_lite.files import InputError

# Bytes behind the audio that no header states and that are let pass: less than 2 ms of speech.
UNSTATED_BYTES = 64
# Padding with zeros to a sector, as some writers leave it.
PADDING_BYTES = 4096
# Tags of other formats that programs put behind any audio.
TAGS = (b"TAG", b"ID3", b"APETAGEX")
AUDIO_CHUNKS = (b"data", b"SSND", b"BODY")
OGG_TAIL = 2**16 + 1024  # bytes: the longest page has 65,307
FLAC_TAIL = 2**16  # bytes: where the header doesn't state the longest frame
# What comes before a FLAC stream: "fLaC", head of a block, and of STREAMINFO 18 bytes are of use.
FLAC_HEAD = 26
FLAC_RATE_SHIFT = 44  # bits of channels, bits and samples behind those of the rate
# Sizes that stand for an unknown one begin here: 0xFFFFFFFF of FFmpeg, 0x7FFFF000 and a little more
# of sox, 0x80000000 of arecord.
UNKNOWN_SIZE = 0x7FFF0000
# Containers of which libsndfile reads audio of such a size to the end of the file.
READ_TO_THE_END = (b"RIFF", b"RIFX", b"FORM")
RF64_DATA_SIZE = 28  # byte at which the chunk ds64, which comes first, states the size of the audio

# Of MPEG audio, layer III: kbit/s by code for MPEG 1, and for MPEG 2 and 2.5; rates in Hz by code.
MPEG1_KBIT_S = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBIT_S = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_RATES = (44100, 48000, 32000)


class ChunkLayout(NamedTuple):
    """Layout of a file of chunks.

    Attributes:
        first: byte at which the first chunk begins.
        id_bytes: bytes of the id of a chunk; the first four of them are text.
        size_bytes: bytes of the size that follows the id.
        byteorder: of the size.
        counts_head: whether the size of a chunk includes id and size.
        alignment: of chunks, in bytes.
    """

    first: int
    id_bytes: int
    size_bytes: int
    byteorder: str
    counts_head: bool = False
    alignment: int = 2


CHUNK_LAYOUTS = {
    b"RIFF": ChunkLayout(12, 4, 4, "little"),
    b"RF64": ChunkLayout(12, 4, 4, "little"),
    b"RIFX": ChunkLayout(12, 4, 4, "big"),
    b"FORM": ChunkLayout(12, 4, 4, "big"),
    b"caff": ChunkLayout(8, 4, 8, "big", alignment=1),
    b"riff": ChunkLayout(40, 16, 8, "little", counts_head=True, alignment=8),
}


class Length(NamedTuple):
    """Finding about the length that a file states.

    Attributes:
        is_open: whether the header states none, and the audio goes to the end of the file.
        position: byte at which ``patch`` belongs.
        patch: bytes that state the length where libsndfile would take an open one for none; empty
            where the file can be read as it is.
        samples: number that the header of a FLAC file states; 0 of others, and of an open one.
        rate: in Hz, of the same.
    """

    is_open: bool = False
    position: int = 0
    patch: bytes = b""
    samples: int = 0
    rate: int = 0


def check_length(stream: BinaryIO) -> Length:
    """Refuse a file with more audio, or less, than its header states; of any kind.

    Args:
        stream: the file, which can seek.

    Raises:
        InputError: the header and the bytes contradict each other.
    """
    length = stream.seek(0, os.SEEK_END)
    begin = _skip_id3(stream)
    magic = _read(stream, begin, 4)
    if magic in CHUNK_LAYOUTS:
        return _check_chunks(stream, length, magic)
    if magic == b".snd":
        return _check_au(stream, length)
    if magic == b"OggS":
        _check_ogg(stream, length)
    elif magic == b"fLaC":
        return _check_flac(stream, length, begin)
    return Length()


def _read(stream: BinaryIO, begin: int, count: int) -> bytes:
    stream.seek(begin)
    return stream.read(count)


def _skip_id3(stream: BinaryIO) -> int:
    """First byte behind an ID3v2 tag, which some programs put before FLAC."""
    head = _read(stream, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return 10 + size


def _check_chunks(stream: BinaryIO, length: int, magic: bytes) -> Length:
    layout = CHUNK_LAYOUTS[magic]
    head_bytes = layout.id_bytes + layout.size_bytes
    position = layout.first
    has_audio = False
    empty_audio = None  # where a chunk of audio without any ends
    while position + head_bytes <= length:
        position, head = _chunk_head(stream, position, layout)
        name = head[:4]
        size = int.from_bytes(head[layout.id_bytes :], layout.byteorder)
        content = position + head_bytes
        size_position = position + layout.id_bytes
        if layout.counts_head:
            size -= head_bytes
        if name == b"data" and magic == b"RF64":
            size_position = RF64_DATA_SIZE
            size = int.from_bytes(_read(stream, RF64_DATA_SIZE, 8), "little")
        if not _is_chunk_name(name) or size < 0:
            break
        is_audio = name in AUDIO_CHUNKS
        has_audio = has_audio or is_audio
        if is_audio and size == 0:
            empty_audio = _open_length(layout, size_position, content, length)
        if content + size > length:
            if is_audio and size >= UNKNOWN_SIZE:
                if magic in READ_TO_THE_END:
                    return Length(is_open=True)
                return _open_length(layout, size_position, content, length)
            # libsndfile notices audio that is cut short.
            if is_audio:
                return Length()
            break
        position = content + size
        position += -position % layout.alignment
    # Not even the padding of a sector, nor another chunk: what follows is the audio.
    if empty_audio and length - position > 0 and not _is_let_pass(stream, position, length):
        return empty_audio
    if has_audio:
        _check_rest(stream, position, length)
    return Length()


def _chunk_head(stream: BinaryIO, position: int, layout: ChunkLayout) -> tuple[int, bytes]:
    """Where a chunk begins, and its id and size.

    A writer may have left out the padding of the chunk before.
    """
    head_bytes = layout.id_bytes + layout.size_bytes
    head = _read(stream, position, head_bytes)
    if not _is_chunk_name(head[:4]) and position - 1 > layout.first and layout.alignment == 2:
        unpadded = _read(stream, position - 1, head_bytes)
        if _is_chunk_name(unpadded[:4]):
            return position - 1, unpadded
    return position, head


def _open_length(layout: ChunkLayout, size_position: int, content: int, length: int) -> Length:
    """Finding about a chunk of audio that goes from ``content`` to the end of the file."""
    size_bytes = 8 if size_position == RF64_DATA_SIZE else layout.size_bytes
    size = length - content
    if layout.counts_head:
        size += layout.id_bytes + layout.size_bytes
    if size >= 1 << 8 * size_bytes:  # of more than 4 GiB, which the size can't state
        return Length(is_open=True)
    return Length(True, size_position, size.to_bytes(size_bytes, layout.byteorder))


def _is_chunk_name(name: bytes) -> bool:
    return re.fullmatch(rb"[ -~]{4}", name) is not None


def _check_rest(stream: BinaryIO, begin: int, length: int) -> None:
    """Refuse bytes behind the audio that may be audio."""
    count = length - begin
    if count <= UNSTATED_BYTES or _is_let_pass(stream, begin, length):
        return
    raise InputError(f"{count} bytes more than its header states")


def _is_let_pass(stream: BinaryIO, begin: int, length: int) -> bool:
    """Whether the bytes to the end of a file are padding, or a tag."""
    rest = _read(stream, begin, PADDING_BYTES + 1)
    is_padding = length - begin <= PADDING_BYTES and not rest.strip(b"\0")
    return is_padding or rest.startswith(TAGS)


def _check_au(stream: BinaryIO, length: int) -> Length:
    head = _read(stream, 4, 8)
    begin = int.from_bytes(head[:4], "big")
    size = int.from_bytes(head[4:], "big")
    if begin + size > length and size >= UNKNOWN_SIZE:
        return Length(is_open=True)
    if begin + size < length:
        if size == 0 and not _is_let_pass(stream, begin, length):
            return Length(True, 8, (length - begin).to_bytes(4, "big"))
        _check_rest(stream, begin + size, length)
    return Length()


def _check_ogg(stream: BinaryIO, length: int) -> None:
    """Refuse a file that ends inside a page.

    The mark of the last page says nothing: published corpora of whole files lack it.
    """
    tail = _read(stream, max(0, length - OGG_TAIL), OGG_TAIL)
    begin = tail.rfind(b"OggS")
    head = tail[begin : begin + 27]
    if begin < 0 or len(head) < 27:
        raise InputError("truncated: it ends inside an Ogg page")
    segment_sizes = tail[begin + 27 : begin + 27 + head[26]]
    end = begin + 27 + head[26] + sum(segment_sizes)
    if len(segment_sizes) < head[26] or end > len(tail):
        raise InputError("truncated: it ends inside an Ogg page")


def _check_flac(stream: BinaryIO, length: int, begin: int) -> Length:
    head = _read(stream, begin, FLAC_HEAD)
    if len(head) < FLAC_HEAD:
        return Length()
    facts = int.from_bytes(head[18:26], "big")
    stated = facts & (1 << 36) - 1
    # The longest block: all but the last are as long, unless frames carry numbers of samples.
    block_size = int.from_bytes(head[10:12], "big")
    longest_frame = int.from_bytes(head[15:18], "big")
    end = None
    # A tag or padding may follow the last frame; where it is long, the whole file is searched.
    for tail_bytes in (longest_frame + 1024 if longest_frame else FLAC_TAIL, length):
        if end is None:
            tail = _read(stream, max(0, length - tail_bytes), tail_bytes)
            end = _end_of_last_flac_frame(tail, block_size)
    if end and not stated:  # an encoder that wrote to a pipe
        return Length(True, begin + 18, (facts | end).to_bytes(8, "big"))
    if end is None or end < stated:
        raise InputError(f"truncated: {end or 0} of {stated} samples are in its FLAC frames")
    if end > stated:
        raise InputError(f"{stated} samples by its header, {end} by its last FLAC frame")
    return Length(samples=stated, rate=facts >> FLAC_RATE_SHIFT)


def _end_of_last_flac_frame(tail: bytes, block_size: int) -> int | None:
    """Sample behind the last frame that begins in the last bytes of a file; None without any."""
    end = len(tail)
    while True:
        # 14 bits of one and a zero bit; the last bit says whether the blocks differ in size.
        begin = max(tail.rfind(b"\xff\xf8", 0, end), tail.rfind(b"\xff\xf9", 0, end))
        if begin < 0:
            return None
        samples = _end_of_flac_frame(tail[begin : begin + 16], block_size)
        if samples is not None:
            return samples
        end = begin + 1


def _end_of_flac_frame(head: bytes, block_size: int) -> int | None:
    """Sample behind a FLAC frame; None where the bytes are no head of a frame.

    Args:
        head: up to 16 bytes, those of the longest head.
        block_size: samples of all frames but the last, where they are equally long.
    """
    if len(head) < 6:
        return None
    size_code = head[2] >> 4
    rate_code = head[2] & 15
    channel_code = head[3] >> 4
    # Codes that the format reserves: these bytes are compressed audio.
    if size_code == 0 or rate_code == 15 or channel_code > 10 or head[3] & 1:
        return None
    number_bytes = _count_leading_ones(head[4]) or 1
    if head[4] & 0xC0 == 0x80 or number_bytes > 7:
        return None
    number = head[4] & 0x7F if number_bytes == 1 else head[4] & (0x7F >> number_bytes)
    for byte in head[5 : 4 + number_bytes]:
        number = number << 6 | byte & 0x3F
    position = 4 + number_bytes
    extra_bytes = {6: 1, 7: 2}.get(size_code, 0)
    if extra_bytes:
        samples = 1 + int.from_bytes(head[position : position + extra_bytes], "big")
    elif size_code == 1:
        samples = 192
    elif size_code < 6:
        samples = 576 << size_code - 2
    else:
        samples = 256 << size_code - 8
    position += extra_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(head) or _crc8(head[:position]) != head[position]:
        return None
    has_sample_number = head[1] & 1
    first = number if has_sample_number else number * block_size
    return first + samples


def _count_leading_ones(byte: int) -> int:
    count = 0
    while count < 8 and byte & (0x80 >> count):
        count += 1
    return count


def _crc8(data: bytes) -> int:
    """Checksum of the head of a FLAC frame, polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc <<= 1
            if crc & 0x100:
                crc ^= 0x107
    return crc


class MpegFrames(NamedTuple):
    """Frames of an MP3, counted.

    Attributes:
        frames: number of those with audio; 0 where something else lies between them, the last one
            is cut, or there are none.
        samples: samples of these frames, at the rate of the file.
        begin: byte of the file at which the first one begins.
        end: byte behind the last one.
        stated_frames: number of frames that a Xing header states; None without a header.
        position: byte at which it states them.
    """

    frames: int
    samples: int
    begin: int
    end: int
    stated_frames: int | None = None
    position: int = 0

    @property
    def is_stated(self) -> bool:
        """Whether the header states the number of frames, on which decoders rely."""
        return self.frames > 0 and self.stated_frames == self.frames


def count_mpeg_frames(stream: BinaryIO) -> MpegFrames:
    """Frames of an MP3.

    Args:
        stream: the file, which can seek.

    Raises:
        InputError: the file ends before the bytes that its Xing header states.
    """
    length = stream.seek(0, os.SEEK_END)
    begin = _skip_id3(stream)
    data = _read(stream, begin, length - begin)
    position = 0
    count = 0
    samples_a_frame = 0
    xing = None
    while position + 4 <= len(data):
        size, samples = _mpeg_frame(data[position : position + 4])
        if not size:
            break
        if position == 0:
            samples_a_frame = samples
            xing = _xing_header(data[:size], begin)
            if xing is not None:
                count = -1  # its frame holds no audio
        if samples != samples_a_frame or position + size > len(data):
            break
        count += 1
        position += size
    if xing is not None and xing.stated_bytes > len(data):
        raise InputError(
            f"truncated: {len(data)} of the {xing.stated_bytes} bytes that its header states"
        )
    rest = data[position : position + PADDING_BYTES]
    if count < 1 or (rest.strip(b"\0") and not rest.startswith(TAGS)):
        count = 0
    frames = MpegFrames(count, count * samples_a_frame, begin, begin + position)
    if xing is None:
        return frames
    return frames._replace(stated_frames=xing.stated_frames, position=xing.position)


def _mpeg_frame(head: bytes) -> tuple[int, int]:
    """Bytes and samples of a frame of MPEG audio, layer III; zeros where these bytes are no head.

    Args:
        head: its first four bytes.
    """
    is_sync = head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    version = head[1] >> 3 & 3  # 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
    layer = head[1] >> 1 & 3  # 1 is layer III
    rate_code = head[2] >> 2 & 3
    kbit_code = head[2] >> 4
    # Code 0 leaves the bit rate open.
    if not is_sync or version == 1 or layer != 1 or rate_code == 3 or kbit_code in (0, 15):
        return 0, 0
    is_mpeg1 = version == 3
    halvings = {3: 0, 2: 1, 0: 2}[version]
    rate = MPEG1_RATES[rate_code] >> halvings
    kbit_s = MPEG1_KBIT_S[kbit_code] if is_mpeg1 else MPEG2_KBIT_S[kbit_code]
    samples = 1152 if is_mpeg1 else 576
    has_padding = head[2] >> 1 & 1
    return samples // 8 * 1000 * kbit_s // rate + has_padding, samples


class XingHeader(NamedTuple):
    """Header in the first frame of an MP3.

    Attributes:
        stated_frames: number of frames behind it.
        position: byte of the file at which it states them.
        stated_bytes: bytes from its own frame to the end; 0 where it states none.
    """

    stated_frames: int
    position: int
    stated_bytes: int


def _xing_header(frame: bytes, begin_of_frame: int) -> XingHeader | None:
    """Xing header that states a number of frames; None without one."""
    is_mpeg1 = frame[1] >> 3 & 3 == 3
    is_mono = frame[3] >> 6 == 3
    side_bytes = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
    begin = 4 + side_bytes[is_mpeg1, is_mono]
    if frame[begin : begin + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[begin + 4 : begin + 8], "big")
    if not flags & 1:
        return None
    position = begin + 8
    frames = int.from_bytes(frame[position : position + 4], "big")
    stated_bytes = 0
    if flags & 2:
        stated_bytes = int.from_bytes(frame[position + 4 : position + 8], "big")
    return XingHeader(frames, begin_of_frame + position, stated_bytes)
