"""Containers: what an audio file says about its length, compared with the bytes that it has.

libsndfile believes a header that states too few samples and leaves the others unread. Here the
bytes themselves are asked, without decoding: chunks have to end where the file does, the last Ogg
page has to be whole, and the number of the last FLAC frame has to lead to the end that the header
states. Containers of other kinds are left to the decoder.
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


def check_length(stream: BinaryIO) -> None:
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
        _check_chunks(stream, length, magic)
    elif magic == b".snd":
        _check_au(stream, length)
    elif magic == b"OggS":
        _check_ogg(stream, length)
    elif magic == b"fLaC":
        _check_flac(stream, length, begin)


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


def _check_chunks(stream: BinaryIO, length: int, magic: bytes) -> None:
    layout = CHUNK_LAYOUTS[magic]
    head_bytes = layout.id_bytes + layout.size_bytes
    position = layout.first
    has_audio = False
    while position + head_bytes <= length:
        head = _read(stream, position, head_bytes)
        name = head[:4]
        # A writer may have left out the padding of the chunk before.
        if not _is_chunk_name(name) and position - 1 > layout.first:
            unpadded = _read(stream, position - 1, head_bytes)
            if layout.alignment == 2 and _is_chunk_name(unpadded[:4]):
                position -= 1
                head = unpadded
                name = head[:4]
        size = int.from_bytes(head[layout.id_bytes :], layout.byteorder)
        content = position + head_bytes
        if layout.counts_head:
            size -= head_bytes
        if name == b"data" and magic == b"RF64":
            size = int.from_bytes(_read(stream, 28, 8), "little")
        if not _is_chunk_name(name) or size < 0:
            break
        is_audio = name in AUDIO_CHUNKS
        has_audio = has_audio or is_audio
        if content + size > length:
            # libsndfile notices audio that is cut short, and the sizes that a pipe writes.
            if is_audio:
                return
            break
        position = content + size
        position += -position % layout.alignment
    if has_audio:
        _check_rest(stream, position, length)


def _is_chunk_name(name: bytes) -> bool:
    return re.fullmatch(rb"[ -~]{4}", name) is not None


def _check_rest(stream: BinaryIO, begin: int, length: int) -> None:
    """Refuse bytes behind the audio that may be audio."""
    count = length - begin
    if count <= UNSTATED_BYTES:
        return
    rest = _read(stream, begin, PADDING_BYTES + 1)
    is_padding = count <= PADDING_BYTES and not rest.strip(b"\0")
    if is_padding or rest.startswith(TAGS):
        return
    raise InputError(f"{count} bytes more than its header states")


def _check_au(stream: BinaryIO, length: int) -> None:
    head = _read(stream, 4, 8)
    begin = int.from_bytes(head[:4], "big")
    size = int.from_bytes(head[4:], "big")
    if begin + size < length:
        _check_rest(stream, begin + size, length)


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


def _check_flac(stream: BinaryIO, length: int, begin: int) -> None:
    head = _read(stream, begin, FLAC_HEAD)
    if len(head) < FLAC_HEAD:
        return
    facts = int.from_bytes(head[18:26], "big")
    stated = facts & (1 << 36) - 1
    if not stated:  # unknown, which the reader refuses
        return
    # The longest block: all but the last are as long, unless frames carry numbers of samples.
    block_size = int.from_bytes(head[10:12], "big")
    longest_frame = int.from_bytes(head[15:18], "big")
    end = None
    # A tag or padding may follow the last frame; where it is long, the whole file is searched.
    for tail_bytes in (longest_frame + 1024 if longest_frame else FLAC_TAIL, length):
        if end is None:
            tail = _read(stream, max(0, length - tail_bytes), tail_bytes)
            end = _end_of_last_flac_frame(tail, block_size)
    if end is None or end < stated:
        raise InputError(f"truncated: {end or 0} of {stated} samples are in its FLAC frames")
    if end > stated:
        raise InputError(f"{stated} samples by its header, {end} by its last FLAC frame")


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
