import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Asks a server as Java's client does by its defaults, which offers HTTP/2 with each request. */
class Ask {
    public static void main(String[] words) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        String vectors = "{\"vectors\": {\"size\": 2, \"distance\": \"Dot\"}}";
        String points = "{\"points\": [{\"id\": 7, \"vector\": [1, 2]}]}";
        var known = HttpRequest.BodyPublishers.ofString(vectors);
        var chunked = HttpRequest.BodyPublishers.ofInputStream(
            () -> new java.io.ByteArrayInputStream(points.getBytes()));
        send(client, words[0] + "/collections/java", "PUT", known);
        send(client, words[0] + "/collections/java/points?wait=true", "PUT", chunked);
        send(client, words[0] + "/collections/java/points/7", "GET",
            HttpRequest.BodyPublishers.noBody());
        send(client, words[0] + "/collections/java", "DELETE",
            HttpRequest.BodyPublishers.noBody());
    }

    static void send(HttpClient client, String url, String method,
            HttpRequest.BodyPublisher body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).method(method, body).build();
        var answer = client.send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
    }
}
