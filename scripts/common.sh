# Sourced by the other scripts: finds a Python and makes virtual environments.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.10 to 3.13 is needed, and none was found; name one with PYTHON=" >&2
    return 1
}

# environment FOLDER REQUIREMENT...: a virtual environment with this project, editable, and what is
# named, in the versions of $constraints; installed anew only when what is needed may have changed,
# since asking pip takes seconds
constraints=constraints.txt
environment() {
    local folder=$1
    shift
    local python
    python=$(find_python)
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    if [ pyproject.toml -nt "$folder/installed" ] || [ constraints.txt -nt "$folder/installed" ]; then
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$constraints" "$@"
        touch "$folder/installed"
    fi
}
