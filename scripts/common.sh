# Sourced by the other scripts: shows how they are used, finds a Python and makes virtual environments.

# show_help SCRIPT: the comment at its beginning
show_help() { sed -nE '1d; /^#/!q; s/^# ?//p' "$1"; }

for argument in "$@"; do
    if [ "$argument" = --help ] || [ "$argument" = -h ]; then
        show_help "$0"
        exit
    fi
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without bytecode each of the many processes that tests start compiles all that it imports.
unset PYTHONDONTWRITEBYTECODE

# is_python PROGRAM [VERSION]: whether it runs, and is of that version, or of any that is supported
is_python() {
    "$1" - "${2:-}" 2>/dev/null <<'PROGRAM'
import sys
here, wanted = sys.version_info[:2], sys.argv[1]
sys.exit("%d.%d" % here != wanted if wanted else not (3, 11) <= here < (3, 15))
PROGRAM
}

# find_python [VERSION]: a Python of that version, such as 3.13, else PYTHON or any that is
# supported; among pyenv's too, whose shims are on PATH and lead only to the one that is chosen
find_python() {
    local candidate candidates=("${PYTHON:-python3}" python3) version folder
    for version in ${1:-3.13 3.12 3.11 3.14}; do
        candidates+=("python$version")
        for folder in ${PATH//:/ }; do
            candidates+=("${folder%/shims}"/versions/"$version".*/bin/python)
        done
    done
    for candidate in "${candidates[@]}"; do
        if is_python "$candidate" "${1:-}"; then
            echo "$candidate"
            return
        fi
    done
    echo "Python ${1:-3.11 to 3.14} is needed, and none was found; name one with PYTHON=" >&2
    return 1
}

# told_to_pip SETTING: what pip is told by its configuration and environment, where uv doesn't look
told_to_pip() {
    { "$(find_python)" -m pip config list 2>/dev/null || true; } | sed -nE "s/^(:env:|[a-z]+)\.$1='(.*)'$/\2/p"
}

# has_cpu_torch VERSION: whether a build of torch without CUDA can be had for that Python
has_cpu_torch() {
    local folder
    [ "$(uname)" != Darwin ] && [ -z "${UV_TORCH_BACKEND:-}" ] || return 0
    for folder in $(told_to_pip find-links); do
        ! compgen -G "$folder/torch-*-cp${1/./}-*.whl" >/dev/null || return 0
    done
    return 1
}

# is_installed FOLDER: whether what is in this environment is of what lies here: the requirements,
# and the library compiled of its sources, which all environments share
is_installed() {
    local native=retrieval_store/indexes/native file
    [ -e "$native/kernel.so" ] || return 1
    for file in pyproject.toml integrations/*/pyproject.toml constraints.txt hatch_build.py \
        "$native"/*.[ch]; do
        [ ! "$file" -nt "$1/installed" ] || return 1
    done
}

# tell_uv: sets told to arguments of uv by which it looks where pip is told to look
tell_uv() {
    local link index certificates
    told=()
    for link in $(told_to_pip find-links); do told+=(--find-links "$link"); done
    for index in $(told_to_pip index-url); do told+=(--default-index "$index"); done
    certificates=$(told_to_pip cert | tail -1)
    [ -z "$certificates" ] || export SSL_CERT_FILE=$certificates
}

constraints=constraints.txt
# install_into FOLDER ARGUMENT...: packages into a virtual environment, in the versions of $constraints
install_into() {
    local folder=$1 told
    shift
    tell_uv
    "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" \
        ${told[@]+"${told[@]}"} --constraint "$constraints" "$@"
}

# environment FOLDER REQUIREMENT...: a virtual environment with this project, editable, and what is
# named, in the versions of $constraints, those it is built with too; of the Python $version, where
# that is set. Installed anew only when what is needed may have changed, since asking takes seconds.
environment() {
    local folder=$1 python
    shift
    if ! is_python "$folder/bin/python" "${version:-}" || [ ! -x "$folder/bin/uv" ]; then
        python=$(find_python "${version:-}")
        "$python" -m venv --clear "$folder"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint constraints.txt uv
    fi
    if ! is_installed "$folder"; then
        install_into "$folder" --build-constraint "$constraints" \
            --reinstall-package retrieval-store "$@"
        touch "$folder/installed"
    fi
}

# all_packages: sets packages to arguments that install those around the core, editable
all_packages() {
    local project
    packages=()
    for project in integrations/*/pyproject.toml; do
        packages+=(--editable "./${project%/*}")
    done
}

extras=standard,minilm,hnsw,text,remote-files,qdrant,telemetry # that the core's tests need
# environment_of_core: that of the core's tests, .venv-test, or .venv-test-$version where that is set
environment_of_core() {
    environment ".venv-test${version:+-$version}" --group tests --editable ".[$extras]"
}

# for_all [torch]: sets needed to arguments that install the project and the packages around it,
# editable, with what tests of these and beside other stores need; with models by torch, too, where
# that is asked for
for_all() {
    local group project
    all_packages
    needed=(--editable ".[$extras,docs]" "${packages[@]}")
    for group in tests others ${1:+"$1"}; do needed+=(--group "$group"); done
    for project in integrations/*/pyproject.toml; do
        for group in tests ${1:+"$1"}; do
            ! grep -q "^$group = " "$project" || needed+=(--group "$project:$group")
        done
    done
}

# environment_of_all: that of all tests, .venv-all, or .venv-all-$version where that is set
environment_of_all() {
    local torch=torch needed
    if [ -n "${version:-}" ] && ! has_cpu_torch "$version"; then
        torch=
        echo "Python $version: no build of torch without CUDA was found; its tests are skipped" >&2
    fi
    for_all $torch
    environment ".venv-all${version:+-$version}" "${needed[@]}"
}
