"""What `swallowed-error` must and must not report."""


def bad(work):
    # ruleid: swallowed-error
    try:
        work()
    except:
        return None
    # ruleid: swallowed-error
    try:
        work()
    except Exception:
        pass


def good(work, log):
    # ok: swallowed-error
    try:
        work()
    except FileNotFoundError:
        pass
    # ok: swallowed-error
    try:
        work()
    except Exception as error:
        log.error("work failed", error=str(error))
        raise
