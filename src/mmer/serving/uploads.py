"""Parsing of request bodies, without writing to disk."""

from collections import ChainMap, Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from mmer.plain_text import counted, one_line
from mmer.serving.schemas import Question, Upload

if TYPE_CHECKING:
    from starlette.requests import Request

Asked = TypeVar("Asked", bound=Upload)
MULTIPART, JSON = "multipart/form-data", "application/json"
_LONGEST_NAME = 100  # most characters of a client's name that an answer repeats
FORMATS = {
    "16-bit WAV at 44.1 kHz in stereo": 176_400,
    "16-bit WAV at 16 kHz in mono": 32_000,
    "MP3 at 128 kbit/s": 16_000,
    "Opus at 32 kbit/s": 4_000,
}
"""Bytes per second of common formats."""


def upload_minutes(size: int) -> dict[str, float]:
    """Return how many minutes of sound a number of bytes holds, by format."""
    return {name: float(f"{size / rate / 60:.3g}") for name, rate in FORMATS.items()}


async def read_question(request: "Request", asked: type[Asked], max_upload: int) -> Asked:
    """Read a question, sent as a form with a `file` or as JSON.

    Args:
        request: a request whose body has not been read.
        asked: schema of the question.
        max_upload: largest body in bytes; a longer one is refused from its header, or once this many bytes have
            arrived.

    Raises:
        HTTPException: the body is too long (413), of another type (415) or does not match `asked`, a field is there
            twice, or stands in the address (422).
    """
    from starlette.exceptions import HTTPException

    _check_address(request)
    kind = _content_type(request)
    if kind not in (MULTIPART, JSON):
        raise HTTPException(415, f"a body of {kind} is not read; send {MULTIPART} with a file, or {JSON}")
    body = _bounded(request, max_upload)
    try:
        if kind == MULTIPART:
            files, fields = await _form(request, body, 1)
            for name, count in Counter(name for name, _ in fields).items():
                if count > 1:
                    told = one_line(name)[:_LONGEST_NAME]
                    raise HTTPException(422, f"the form has {count} values of {told}; send it once")
            return asked.model_validate(dict(ChainMap[str, str | bytes](dict(fields), *files)))
        content = b"".join([chunk async for chunk in body])
        _check_fields(content, asked)
        return asked.model_validate_json(content)
    except ValidationError as error:
        raise HTTPException(422, _one_line(error, asked)) from None


async def read_questions(request: "Request", max_upload: int, most: int) -> list[Question]:
    """Read a form with several files, in their order.

    Args:
        request: a request whose body has not been read.
        max_upload: largest body in bytes.
        most: largest number of files.

    Raises:
        HTTPException: the body is too long (413) or no form (415), there are too many files or none, a field is
            unknown or stands in the address, or `transcript` or `speaker` is not there once for each file (422).
    """
    from starlette.exceptions import HTTPException

    _check_address(request)
    if (kind := _content_type(request)) != MULTIPART:
        raise HTTPException(415, f"a body of {kind} is not read; send {MULTIPART} with files")
    files, given = await _form(request, _bounded(request, max_upload), most)
    if not files:
        raise HTTPException(422, "the form has no file; send each recording as a file named 'file'")
    fields: dict[str, list[str]] = {"transcript": [], "speaker": [], "min_confidence": []}
    for name, value in given:
        if name not in fields:
            allowed = ", ".join(["file", *fields])
            raise HTTPException(422, f"there is no field '{name[:_LONGEST_NAME]}'; allowed are {allowed}")
        fields[name].append(value)
    if len(fields["min_confidence"]) == 1:
        fields["min_confidence"] *= len(files)
    for name, values in fields.items():
        if len(values) not in (0, len(files)):
            found = f"{counted(len(files), 'file')} and {counted(len(values), 'value')} of {name}"
            raise HTTPException(422, f"the form has {found}; send it once for each file, or not at all")
    questions: list[Question] = []
    for index, file in enumerate(files):
        chosen = {
            name: values[index]
            for name, values in fields.items()
            if values and (values[index] or name == "min_confidence")  # no words and no name: unknown
        }
        try:
            questions.append(Question.model_validate(file | chosen))
        except ValidationError as error:
            raise HTTPException(422, f"file {index + 1}: {_one_line(error, Question)}") from None
    return questions


def _content_type(request: "Request") -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or "no Content-Type"


def _check_address(request: "Request") -> None:
    """Refuse fields in the address, which would have no effect there."""
    from starlette.exceptions import HTTPException

    if request.query_params:
        name = one_line(next(iter(request.query_params)))[:_LONGEST_NAME]
        raise HTTPException(422, f"'{name}' stands in the address, which has no fields; send it in the body")


def _check_fields(content: bytes, asked: type[Upload]) -> None:
    """Refuse an object with too many fields, before pydantic creates an error for each of them."""
    from starlette.exceptions import HTTPException

    try:
        fields = from_json(content)
    except ValueError:  # pydantic's message is better
        return
    if isinstance(fields, dict) and len(fields) > len(asked.model_fields):
        allowed = ", ".join(asked.model_fields)
        raise HTTPException(422, f"there are {len(fields)} fields; allowed are {allowed}")


async def _bounded(request: "Request", limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body."""
    from starlette.exceptions import HTTPException

    held = ", ".join(f"{_time(minutes)} of {name}" for name, minutes in upload_minutes(limit).items())
    too_long = f"at most {limit / 1e6:g} MB are allowed, about {held}"
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise HTTPException(413, f"the request has {int(stated) / 1e6:.1f} MB; {too_long}")
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > limit:
            raise HTTPException(413, f"the request is too long; {too_long}")
        yield chunk


def _time(minutes: float) -> str:
    return f"{minutes:g} min" if minutes >= 1 else f"{60 * minutes:.2g} s"


async def _form(
    request: "Request", body: AsyncGenerator[bytes, None], most: int
) -> tuple[list[dict[str, str | bytes]], list[tuple[str, str]]]:
    """Read a form: its files, at most `most`, as the fields `audio` and `name` of questions, and its other fields."""
    from python_multipart.multipart import parse_options_header
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException, MultiPartParser
    from starlette.requests import ClientDisconnect

    class Parser(MultiPartParser):
        def on_headers_finished(self) -> None:
            # A recording without a file name is still a recording, not a text.
            part = self._current_part
            _, options = parse_options_header(part.content_disposition)
            if options.get(b"name") == b"file" and b"filename" not in options:
                part.content_disposition = b'form-data; name="file"; filename=""'
                options[b"filename"] = b""
            if b"filename" in options and most == self._current_files == 1:
                raise MultiPartException("it has more than one file; /v1/predict/batch takes several")
            super().on_headers_finished()

    parser = Parser(request.headers, body, max_files=most, max_fields=10 * most)
    parser.spool_max_size = 0  # Python's temporary file, which never leaves memory
    try:
        form = await parser.parse()
    except (HTTPException, ClientDisconnect):
        raise
    except MultiPartException as error:
        raise HTTPException(422, f"the form cannot be read: {error.message}") from None
    except Exception as error:  # parsers of untrusted bytes
        raise HTTPException(422, f"the form cannot be read ({type(error).__name__})") from None
    files: list[dict[str, str | bytes]] = []
    fields: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise HTTPException(
                    422, f"the form has a file named '{name[:_LONGEST_NAME]}'; name it 'file'"
                )
            files.append({"audio": await value.read()})
            if value.filename:
                files[-1]["name"] = " ".join(value.filename.split())[-200:]
        elif name == "audio":
            raise HTTPException(
                422, "the form has a field 'audio'; send the recording as a file named 'file'"
            )
        else:
            fields.append((name, value))
    return files, fields


def _one_line(error: ValidationError, asked: type[Upload]) -> str:
    """Describe in one line what is wrong with a question."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(map(str, problem["loc"]))[:_LONGEST_NAME]
        if problem["type"] == "extra_forbidden":
            lines.append(f"there is no field '{field}'; allowed are {', '.join(asked.model_fields)}")
        else:
            lines.append(f"{field}: {problem['msg']}" if field else problem["msg"])
    return " ".join("; ".join(lines).split())
