# Servers written for the JVM, where no Docker engine answers: a Java from Debian, jars from Maven.
# shellcheck shell=bash disable=SC2154 # the paths come from paths.sh

# java_why_not RELEASE FOLDER: says why jars of that name can't be fetched and run here, or nothing.
java_why_not() {
    local found
    can_install && return
    if ! command -v java >/dev/null; then
        echo "no Docker engine answers, java is not on PATH, and only root with apt-get may install it"
    elif found=$(java_release) && ((found < $1)); then
        echo "no Docker engine answers, and the java on PATH is release $found, it takes $1"
    elif [[ ! -d $cache/jars/$2 ]] && ! command -v mvn >/dev/null; then
        echo "no Docker engine answers, mvn is not on PATH, and only root with apt-get may install it"
    fi
}

# "17.0.15" is release 17, "1.8.0" is release 8; 0 when it does not say.
java_release() {
    local line
    read -r line < <(java -version 2>&1) || true
    [[ $line =~ \"(1\.)?([0-9]+) ]] || { echo 0; return; }
    echo "${BASH_REMATCH[2]}"
}

# maven_jars FOLDER GROUP:ARTIFACT:VERSION...: the jars with all they need, in $cache/jars/FOLDER.
# The folder is renamed into place: an interrupted download is never taken for a whole one.
maven_jars() {
    local folder="$cache/jars/$1" work
    [[ -d $folder ]] && return
    install_missing java=default-jre-headless mvn=maven || cannot "java and mvn could not be installed"
    mkdir -p "$cache/jars"
    work=$(mktemp -d "$cache/jars/.$1.XXXXXX")
    pom "${@:2}" >"$work/pom.xml"
    say "fetching ${*:2} by Maven"
    timeout 600 mvn --batch-mode --file "$work/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$work/jars" >"$dir/maven.log" 2>&1 </dev/null || {
        rm -rf "$work"
        cannot "Maven could not fetch ${*:2}, see $dir/maven.log"
    }
    mv -T "$work/jars" "$folder" 2>/dev/null || [[ -d $folder ]]
    rm -rf "$work"
}

pom() {
    local coordinate group artifact version
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>keylane</groupId><artifactId>test-server</artifactId><version>1</version><dependencies>'
    for coordinate in "$@"; do
        IFS=: read -r group artifact version <<<"$coordinate"
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    echo '</dependencies></project>'
}
